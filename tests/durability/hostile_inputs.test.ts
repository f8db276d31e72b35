/**
 * Inputs that crash, hang or fill the process that reads them: the run fails with a reason, the workers keep running, and
 * another run continues. The workers, the server and the processes are real; the bounds are small.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { WorkflowFailedError, WorkflowHandle } from '@temporalio/client';
import { countMetricsLines, Deployment } from '../support/deployment.js';
import { writeTinyTextModel } from '../support/tiny_text_model.js';
import { until } from '../support/until.js';

const secrets = {
  HF_TOKEN: 'SENTINEL_hub',
  AWS_SECRET_ACCESS_KEY: 'SENTINEL_aws',
  MY_SECRET: 'SENTINEL_my',
};

let deployment: Deployment;
let bystander: WorkflowHandle;
let workers: (number | undefined)[];

const file = (...parts: string[]) => path.join(deployment.folder, ...parts);
const workerPids = () => [deployment.control.child.pid, deployment.host.child.pid];

beforeAll(async () => {
  const config = path.resolve(import.meta.dirname, 'support/hostile_config.js');
  deployment = await Deployment.start({ TEMPER_CONFIG: config, ...secrets });
  workers = workerPids();
  bystander = await deployment.run('bystander', { training: { num_epochs: 100_000, precision: 'fp32' } });
  await deployment.untilLines('bystander', 1, 2);
}, 240_000);

afterAll(async () => {
  await bystander?.terminate();
  await deployment.stop();
}, 60_000);

/** Returns the failure that ends a run, and checks that both workers are still running. */
async function runToFailure(
  name: string,
  change: Record<string, unknown>,
): Promise<{ type: string; message: string }> {
  const handle = await deployment.run(name, change);
  const thrown = (await handle.result().catch((error: unknown) => error)) as WorkflowFailedError;
  expect([deployment.control.child.exitCode, deployment.host.child.exitCode]).toEqual([null, null]);
  expect(workerPids()).toEqual(workers);
  return thrown.cause as unknown as { type: string; message: string };
}

/** Waits until the bystander has trained two more steps. */
async function untilBystanderContinues(): Promise<void> {
  await deployment.untilLines('bystander', 1, (await countMetricsLines(file('bystander'), 1)) + 2);
}

const withData = (train: object, more: object = {}) => ({
  data: { train, packed_sequence_size: 64, ...more },
});

test.each([
  ['reading', 'loop', 'admit', 'computed for more than 10 s without a pause'],
  ['reading', 'allocate', 'admit', 'used more than 0.5 GB of memory'],
  ['reading', 'abort', 'admit', 'killed by SIGABRT'],
  ['preparing', 'loop', 'prepareData', 'computed for more than 10 s without a pause'],
  ['preparing', 'allocate', 'prepareData', 'used more than 0.5 GB of memory'],
  ['preparing', 'abort', 'prepareData', 'killed by SIGABRT'],
])(
  'during %s, an input that does "%s" ends only the process of %s',
  async (moment, action, step, reason) => {
    const change = withData({ dataset_type: 'hostile', [moment]: action });
    const { type, message } = await runToFailure(`${moment}-${action}`, change);
    // Two crashes on an input of the same digest.
    expect(type).toBe('PoisonInput');
    expect(message).toContain(step);
    expect(message).toContain(reason);
    await untilBystanderContinues();
  },
  120_000,
);

test('the processes of ranks and steps are started without the secrets of the worker', () => {
  const environment = (pid: number | undefined) => readFileSync(`/proc/${pid}/environ`, 'utf8');
  expect(environment(deployment.host.child.pid)).toContain('SENTINEL');
  const children = [...deployment.ranks(), ...deployment.children('step.js')];
  expect(children.length).toBeGreaterThanOrEqual(2);
  for (const child of children) expect(environment(child)).not.toContain('SENTINEL');
});

test('a chat template that loops a thousand million times ends its run, and another run continues', async () => {
  await writeTinyTextModel(file('templated'));
  const tokenizer = JSON.parse(await readFile(file('templated', 'tokenizer_config.json'), 'utf8'));
  const template = '{% for i in range(1000000000) %}{% endfor %}{{ messages[0].content }}';
  await writeFile(
    file('templated', 'tokenizer_config.json'),
    JSON.stringify({ ...tokenizer, chat_template: template }),
  );
  await writeFile(
    file('chat.jsonl'),
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
  );
  const { type, message } = await runToFailure('templated-run', {
    model: { name: file('templated') },
    ...withData({ dataset_type: 'chat', path: file('chat.jsonl') }),
  });
  expect(type).toBe('PoisonInput');
  expect(message).toMatch(/^prepareData crashed .*used more than 0\.5 GB of memory/);
  await untilBystanderContinues();
}, 240_000);

test('a damaged Parquet file of a task ends its run, and another run continues', async () => {
  const bytes = await readFile(path.resolve('tests/unit/datasets/goldens/rows_zstd.parquet'));
  bytes.fill(0xff, 8, 60);
  await writeFile(file('damaged.parquet'), bytes);
  await writeTinyTextModel(file('with_text'));
  const { type, message } = await runToFailure('damaged-task', {
    model: { name: file('with_text') },
    evaluation: { tasks: [{ task: 'perplexity', path: file('damaged.parquet') }] },
  });
  expect(type).toBe('DataError');
  expect(message).toContain('damaged.parquet: rows 1 to 3: cannot be read as Parquet');
  await untilBystanderContinues();
}, 120_000);

test('a regular expression whose repetitions nest is matched at once', async () => {
  const { type, message } = await runToFailure('regex', {
    peft: { type: 'lora', rank: 2, alpha: 4, target_modules: ['/([a-z_.0-9]+)+X/'] },
  });
  expect(type).toBe('ModelError');
  expect(message).toContain('/([a-z_.0-9]+)+X/');
  await untilBystanderContinues();
}, 120_000);

test('a host worker with a step that never pauses still answers SIGTERM', async () => {
  const looping = await deployment.run('looping', withData({ dataset_type: 'hostile', preparing: 'loop' }));
  const computing = () =>
    execFileSync('ps', ['-o', 'stat=,args=', '--ppid', String(deployment.host.child.pid)], {
      encoding: 'utf8',
    });
  await deployment.untilPhase(looping, 'preparing_data');
  await until('the step to compute', () => /^R.*step\.js$/m.test(computing()));
  await looping.terminate();
  expect(await deployment.host.stop()).toBe(0);
  await deployment.restart('host');
}, 120_000);

test('a recipe that extends an endless file ends its run, and the workers keep running', async () => {
  workers = workerPids();
  const { type } = await runToFailure('endless', { extends: '/dev/zero' });
  expect(type).toBe('InvalidRecipe');
}, 120_000);
