/**
 * Whatever is killed in the middle of an epoch, the run ends with the same losses and, bit for bit, the same weights as
 * one that nobody disturbed. Everything is real: the server, the workers, the ranks, the signals.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import {
  defaultTaskQueue,
  type FinetuneResult,
  queryNames,
  type RunStatus,
  type TimelineEntry,
  workflowType,
} from '../../contracts/index.js';
import { TestServer } from '../support/temporal_server.js';
import { writeTinyModel } from '../support/tiny_model.js';
import { TestWorker } from '../support/worker_process.js';

const stepsOfEpoch = 20;
const killAfterStep = 12;

let folder: string;
let server: TestServer;
let control: TestWorker;
let host: TestWorker;
let connection: Connection;
let client: Client;
let undisturbed: Ending;

interface Ending {
  result: FinetuneResult;
  /** Loss by step. */
  losses: Map<number, number>;
  /** sha256 of the published weights. */
  weights: string;
}

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-kill-'));
  await writeTinyModel(path.join(folder, 'model'));
  server = await TestServer.start();
  connection = await Connection.connect({ address: server.address });
  client = new Client({ connection });
  [control, host] = await Promise.all([startWorker('control'), startWorker('host')]);
  undisturbed = await ending(await start('undisturbed'));
}, 180_000);

afterAll(async () => {
  await Promise.all([control.stop(), host.stop()]);
  await connection.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

/** One thread: ranks of several test processes share the machine. */
function startWorker(role: 'control' | 'host'): Promise<TestWorker> {
  const environment = { TEMPER_CACHE: path.join(folder, 'cache'), TEMPER_THREADS: '1' };
  return TestWorker.start(role, server.address, path.join(folder, `${role}.log`), environment);
}

function start(name: string): Promise<WorkflowHandle> {
  const recipe = {
    name,
    model: { name: path.join(folder, 'model') },
    data: {
      train: { dataset_type: 'mock_packed', packs: 4 * stepsOfEpoch },
      packed_sequence_size: 256,
      batch_size: { global: 4, micro: 1 },
    },
    training: { num_epochs: 2, precision: 'fp32', learning_rate: 1e-3 },
    checkpoint: { every_steps: 5 },
    output_dir: path.join(folder, name),
  };
  return client.workflow.start(workflowType, {
    taskQueue: defaultTaskQueue,
    workflowId: name,
    args: [recipe],
  });
}

async function ending(handle: WorkflowHandle): Promise<Ending> {
  const result = (await handle.result()) as FinetuneResult;
  const lines = (await readFile(path.join(result.outputDir, 'metrics.jsonl'), 'utf8')).trim().split('\n');
  const steps = lines.map((line) => JSON.parse(line)).filter((line) => 'loss' in line);
  expect(steps.map(({ step }) => step)).toEqual(
    Array.from({ length: 2 * stepsOfEpoch }, (_, index) => index + 1),
  );
  const weights = await readFile(path.join(result.model, 'model.safetensors'));
  return {
    result,
    losses: new Map(steps.map(({ step, loss }) => [step, loss])),
    weights: createHash('sha256').update(weights).digest('hex'),
  };
}

/** Waits until the generation has written this step. */
async function reached(name: string, generation: number, step: number): Promise<void> {
  const file = path.join(folder, name, `g${generation}`, 'metrics.jsonl');
  const written = async () => (await readFile(file, 'utf8').catch(() => '')).split('\n').length - 1;
  while ((await written()) < step) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** Process ids of the ranks of a host worker. */
function ranksOf(worker: TestWorker): number[] {
  const listed = execFileSync('ps', ['-o', 'pid=', '--ppid', String(worker.child.pid)], { encoding: 'utf8' });
  return listed.trim().split(/\s+/).map(Number);
}

function expectUndisturbed({ losses, weights }: Ending): void {
  expect(losses).toEqual(undisturbed.losses);
  expect(weights).toBe(undisturbed.weights);
}

function interruptions({ result }: Ending): TimelineEntry[] {
  return result.timeline.filter(({ event }) => /lost|preempted|error/.test(event));
}

test('kill -9 of the rank', async () => {
  const handle = await start('rank');
  await reached('rank', 1, killAfterStep);
  process.kill(ranksOf(host)[0]!, 'SIGKILL');
  const end = await ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end)).toMatchObject([{ event: 'rank_lost', exactness: 'bitwise' }]);
  // Seen by the parent, not by a timeout.
  expect(interruptions(end)[0]!.detectedAfter).toBeLessThan(5);
}, 120_000);

test('kill -9 of the host worker: the next one goes on within seconds', async () => {
  const handle = await start('host');
  await reached('host', 1, killAfterStep);
  const [rank] = ranksOf(host);
  await host.kill();
  host = await startWorker('host');
  const restarted = Date.now();
  await reached('host', 2, 1);
  expect(Date.now() - restarted).toBeLessThan(20_000);
  expect(() => process.kill(rank!, 0)).toThrow('ESRCH');
  const end = await ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end)).toMatchObject([{ event: 'host_lost', exactness: 'bitwise' }]);
}, 120_000);

test('kill -9 of the control worker: training does not even notice', async () => {
  const handle = await start('control');
  await reached('control', 1, killAfterStep);
  await control.kill();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  control = await startWorker('control');
  const end = await ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end)).toEqual([]);
}, 120_000);

test('kill -9 of the server, restarted on its database: training does not even notice', async () => {
  const handle = await start('server');
  await reached('server', 1, killAfterStep);
  await server.kill();
  await new Promise((resolve) => setTimeout(resolve, 5000));
  await server.restart();
  const end = await ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end)).toEqual([]);
}, 120_000);

test('SIGTERM to the host worker: the rank commits, no step is lost', async () => {
  const handle = await start('preempted');
  await reached('preempted', 1, killAfterStep);
  expect(await host.stop()).toBe(0);
  host = await startWorker('host');
  const end = await ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end)).toMatchObject([{ event: 'preempted', exactness: 'bitwise', stepsLost: 0 }]);
}, 120_000);

test('kill -9 of everything at once', async () => {
  const handle = await start('everything');
  await reached('everything', 1, killAfterStep);
  await Promise.all([control.kill(), host.kill(), server.kill()]);
  await server.restart();
  [control, host] = await Promise.all([startWorker('control'), startWorker('host')]);
  const end = await ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end)).toMatchObject([{ event: 'host_lost' }]);
}, 120_000);

test('pause holds the steps where they are, and resume goes on', async () => {
  const handle = await start('paused');
  await reached('paused', 1, 3);
  await handle.signal('pause');
  const status = () => handle.query<RunStatus>(queryNames.progress);
  while ((await status()).phase !== 'paused') await new Promise((resolve) => setTimeout(resolve, 50));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const file = path.join(folder, 'paused', 'g1', 'metrics.jsonl');
  const before = await readFile(file, 'utf8');
  await new Promise((resolve) => setTimeout(resolve, 2000));
  expect(await readFile(file, 'utf8')).toBe(before);
  await handle.signal('resume');
  expectUndisturbed(await ending(handle));
}, 120_000);

test('stop ends a run early and publishes what it has', async () => {
  const handle = await start('stopped');
  await reached('stopped', 1, 3);
  await handle.signal('stop');
  const result = (await handle.result()) as FinetuneResult;
  expect(result.state).toBe('stopped');
  expect(result.steps).toBeLessThan(2 * stepsOfEpoch);
  await expect(readFile(path.join(result.model, 'config.json'))).resolves.toBeDefined();
}, 120_000);

test('a server that is away for longer than the heartbeat timeout costs no step', async () => {
  const handle = await start('outage');
  await reached('outage', 1, 3);
  // Held where it is, so that the epoch is under way when the server comes back.
  await handle.signal('pause');
  while ((await handle.query<RunStatus>(queryNames.progress)).phase !== 'paused') {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await server.kill();
  await new Promise((resolve) => setTimeout(resolve, 70_000));
  await server.restart();
  await handle.signal('resume');
  const end = await ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end)).toEqual([]);
}, 240_000);
