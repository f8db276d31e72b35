/** What a run says of its interruptions, and which host it asks next: real server, workers, ranks and signals. */
import { execFileSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { readLog } from '../../components/checkpoint/index.js';
import { type FinetuneResult, signalNames } from '../../contracts/index.js';
import { openStorage } from '../../shared/storage/index.js';
import { Deployment, interruptions } from '../support/deployment.js';
import { until } from '../support/until.js';
import type { TestWorker } from '../support/worker_process.js';

let deployment: Deployment;

beforeAll(async () => {
  deployment = await Deployment.start();
}, 120_000);
afterAll(async () => deployment.stop(), 60_000);

test('SIGTERM to a host that prepares data costs another try and no budget', async () => {
  const data = {
    train: { dataset_type: 'mock', documents: 100_000 },
    packed_sequence_size: 256,
    batch_size: { global: 4, micro: 1 },
  };
  const handle = await deployment.run('preparing', { data, training: { max_steps: 3, precision: 'fp32' } });
  const isComputing = async () => {
    const [pending] = (await handle.describe()).raw.pendingActivities ?? [];
    return pending?.activityType?.name === 'prepareData' && pending.lastHeartbeatTime != null;
  };
  await until('prepareData to compute', isComputing);
  expect(await deployment.host.stop()).toBe(0);
  await deployment.restart('host');
  const result = (await handle.result()) as FinetuneResult;
  expect(interruptions(result)).toMatchObject([
    { event: 'preempted', detail: 'the host worker was shut down', generation: null },
  ]);
  const folder = path.join(deployment.folder, 'preparing', 'timeline');
  expect(result.timelineUri).toBe(folder);
  const files = (await readdir(folder)).sort();
  const texts = await Promise.all(files.map((file) => readFile(path.join(folder, file), 'utf8')));
  const lines = texts.join('').trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual(result.timeline);
}, 240_000);

test('a host killed soon after it has resumed leaves the entry of the loss before complete', async () => {
  // One epoch that is longer than the test: what the workflow knows of a generation, it knows from its reports.
  const data = {
    train: { dataset_type: 'mock_packed', packs: 20_000 },
    packed_sequence_size: 256,
    batch_size: { global: 4, micro: 1 },
  };
  const handle = await deployment.run('twice', { data, training: { num_epochs: 1, precision: 'fp32' } });
  await deployment.untilLines('twice', 1, 7);
  await deployment.host.kill();
  await deployment.restart('host');
  await deployment.untilLines('twice', 2, 3);
  await deployment.host.kill();
  await deployment.restart('host');
  await deployment.untilLines('twice', 3, 1);
  await handle.signal(signalNames.stop);
  const losses = interruptions((await handle.result()) as FinetuneResult);
  expect(losses).toHaveLength(2);
  for (const loss of losses) {
    expect(loss).toMatchObject({ event: 'host_lost', exactness: 'bitwise' });
    for (const value of [loss.capacityAfter, loss.loadedAfter, loss.firstStepAfter, loss.stepsLost])
      expect(value).toBeGreaterThanOrEqual(0);
  }
}, 240_000);

/** Returns the queue of the host that took each generation, oldest first. */
async function holders(name: string): Promise<string[]> {
  const storage = await openStorage(path.join(deployment.folder, name), { roots: null });
  const queues: string[] = [];
  for await (const { entry } of readLog(storage))
    if (entry?.kind === 'generation') queues.unshift(entry.holder);
  return queues;
}

function killRank({ child }: TestWorker): void {
  const listed = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(child.pid)], { encoding: 'utf8' });
  const rank = listed.split('\n').find((line) => line.endsWith('/rank.js'));
  process.kill(Number.parseInt(rank!, 10), 'SIGKILL');
}

test('a run that loses its rank on one host goes to the other one, each time', async () => {
  const other = await deployment.startAnotherHost();
  try {
    const hosts = new Map([deployment.host, other].map((host) => [host.queue, host]));
    const handle = await deployment.run('avoiding');
    for (const generation of [1, 2, 3]) {
      // The commit after step 5 of a generation renews what the run remembers of hosts.
      await deployment.untilLines('avoiding', generation, 8);
      killRank(hosts.get((await holders('avoiding')).at(-1)!)!);
    }
    const { result } = await deployment.awaitEnding(handle);
    expect(result.interruptions).toMatchObject({ rank_lost: 3, host_lost: 0 });
    const [first, second, third, fourth] = await holders('avoiding');
    expect(new Set([first, second])).toEqual(new Set(hosts.keys()));
    expect([third, fourth]).toEqual([first, second]);
  } finally {
    await other.stop();
  }
}, 240_000);
