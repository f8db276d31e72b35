/** The workflow as people reach it: the official CLI on one side, real workers on the other. */
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { WorkflowFailedError } from '@temporalio/client';
import { defaultTaskQueue, type FinetuneResult, workflowType } from '../../contracts/index.js';
import { findTemporalCli } from '../../workers/embedded_server/server_process.js';
import { Deployment } from '../support/deployment.js';
import { until } from '../support/until.js';

let deployment: Deployment;

beforeAll(async () => {
  deployment = await Deployment.start();
}, 120_000);
afterAll(async () => deployment.stop(), 60_000);

/** Calls `temporal workflow execute` with a recipe as its input file. */
async function execute(name: string, recipe: unknown) {
  const file = path.join(deployment.folder, `${name}.json`);
  await writeFile(file, JSON.stringify(recipe));
  const options = [
    '--type',
    workflowType,
    '--task-queue',
    defaultTaskQueue,
    '--workflow-id',
    name,
    '--input-file',
    file,
  ];
  const command = [
    'workflow',
    'execute',
    '--address',
    deployment.server.address,
    ...options,
    '--output',
    'json',
  ];
  return spawnSync(findTemporalCli(), command, { encoding: 'utf8' });
}

test('temporal workflow execute runs a recipe', async () => {
  const { stdout, status } = await execute('official', deployment.recipe('official'));
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({
    status: 'COMPLETED',
    result: { run: 'official', state: 'completed' },
  });
}, 120_000);

test('a Temporal schedule starts runs in folders named by their ids, from one input', async () => {
  const file = path.join(deployment.folder, 'nightly.json');
  const training = { num_epochs: 1, precision: 'fp32' };
  const output_dir = path.join(deployment.folder, 'scheduled', '${run}');
  await writeFile(file, JSON.stringify({ ...deployment.recipe('nightly'), training, output_dir }));
  const schedule = (command: string, ...options: string[]) =>
    spawnSync(
      findTemporalCli(),
      ['schedule', command, '--address', deployment.server.address, '--schedule-id', 'nightly', ...options],
      { encoding: 'utf8' },
    );
  const workflow = ['--type', workflowType, '--task-queue', defaultTaskQueue, '--workflow-id', 'nightly'];
  expect(schedule('create', '--interval', '100d', ...workflow, '--input-file', file).status).toBe(0);
  const runs: string[] = [];
  for (const count of [1, 2]) {
    expect(schedule('trigger').status).toBe(0);
    const { schedule: schedules, workflow: workflows } = deployment.client;
    const listStarts = async () => (await schedules.getHandle('nightly').describe()).info.recentActions;
    await until(`run ${count} of the schedule`, async () => (await listStarts()).length >= count);
    const { action } = (await listStarts())[count - 1]!;
    const { run, state, outputDir } = (await workflows
      .getHandle(action.workflow.workflowId)
      .result()) as FinetuneResult;
    expect(state).toBe('completed');
    expect(outputDir).toBe(path.join(deployment.folder, 'scheduled', run));
    runs.push(run);
    // A schedule's workflow ids differ in their second.
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  expect(new Set(runs).size).toBe(2);
}, 120_000);

test('an invalid recipe fails the workflow at once, with every problem in the message', async () => {
  const recipe = { ...deployment.recipe('invalid'), seed: 'one', pefd: {}, training: { num_epochs: 0 } };
  const startTime = Date.now();
  const { stdout, status } = await execute('invalid', recipe);
  expect(status).not.toBe(0);
  expect(Date.now() - startTime).toBeLessThan(15_000);
  const error = await deployment.client.workflow
    .getHandle('invalid')
    .result()
    .catch((thrown: unknown) => thrown);
  const cause = (error as WorkflowFailedError).cause!;
  expect(cause).toMatchObject({ type: 'InvalidRecipe' });
  for (const key of ['seed', 'pefd', 'training.num_epochs']) {
    expect(cause.message).toContain(key);
    expect(stdout).toContain(key);
  }
}, 60_000);

test('a completed run is not trained again', async () => {
  const firstResult = (await (await deployment.run('again')).result()) as FinetuneResult;
  const secondResult = (await (await deployment.run('again')).result()) as FinetuneResult;
  expect(secondResult).toEqual(firstResult);
}, 120_000);

test('runs wait for a slot and get it one after the other', async () => {
  const handles = [await deployment.run('first'), await deployment.run('second')];
  const results = (await Promise.all(handles.map((handle) => handle.result()))) as FinetuneResult[];
  const spans = results.map(({ timeline }) => {
    const findTime = (event: string) => Date.parse(timeline.findLast((entry) => entry.event === event)!.at);
    return { from: findTime('gang_granted'), to: findTime('epoch_finished') };
  });
  const [earlier, later] = spans.sort((a, b) => a.from - b.from) as [(typeof spans)[0], (typeof spans)[0]];
  expect(later.from).toBeGreaterThanOrEqual(earlier.to);
}, 120_000);

test('a terminated run gives its slot back', async () => {
  const handle = await deployment.run('terminated', { training: { num_epochs: 1000, precision: 'fp32' } });
  await deployment.untilLines('terminated', 1, 3);
  const [rank] = deployment.ranks();
  await handle.terminate('by hand');
  const hasExited = () => spawnSync('kill', ['-0', String(rank)]).status !== 0;
  await until('the rank to end', hasExited);
  expect((await (await deployment.run('next')).result()) as FinetuneResult).toMatchObject({
    state: 'completed',
  });
}, 120_000);

test('a cancelled run keeps its checkpoint, and resumes from it when it is started again', async () => {
  const longTraining = { training: { num_epochs: 1000, precision: 'fp32' } };
  const handle = await deployment.run('cancelled', longTraining);
  await deployment.untilLines('cancelled', 1, 12);
  await handle.cancel();
  await expect(handle.result()).rejects.toMatchObject({ cause: { name: 'CancelledFailure' } });
  const secondRun = await deployment.run('cancelled', { training: { num_epochs: 2, precision: 'fp32' } });
  const { timeline } = (await secondRun.result()) as FinetuneResult;
  expect(timeline.find(({ event }) => event === 'resumed')!.step).toBeGreaterThanOrEqual(12);
}, 120_000);

test('a run does not wait for a host that was killed while it prepared data', async () => {
  const data = {
    train: { dataset_type: 'mock', documents: 100_000 },
    packed_sequence_size: 256,
    batch_size: { global: 4, micro: 1 },
  };
  const handle = await deployment.run('preparing', { data, training: { max_steps: 3, precision: 'fp32' } });
  await deployment.untilPhase(handle, 'preparing_data');
  await new Promise((resolve) => setTimeout(resolve, 500));
  const findPending = async () => (await handle.describe()).raw.pendingActivities?.[0]?.activityId;
  const killedActivity = await findPending();
  await deployment.host.kill();
  await deployment.restart('host');
  const restartTime = Date.now();
  // The heartbeat timeout is 30 s: the new host worker reports before it that the old one is gone.
  await until('another activity', async () => (await findPending()) !== killedActivity);
  expect(Date.now() - restartTime).toBeLessThan(10_000);
  expect(((await handle.result()) as FinetuneResult).steps).toBe(3);
}, 180_000);
