/**
 * Whatever is killed in the middle of an epoch, the run ends with the same losses and, bit for bit, the same weights as
 * an undisturbed one. Everything is real: the server, the workers, the ranks, the signals.
 */
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { FinetuneResult } from '../../contracts/index.js';
import { identifyProcess } from '../../shared/process_identity.js';
import {
  Deployment,
  type Ending,
  expectSameEnd,
  interruptions,
  stepsOfEpoch,
} from '../support/deployment.js';

const killAfterStep = 12;

let deployment: Deployment;
let undisturbed: Ending;

beforeAll(async () => {
  deployment = await Deployment.start();
  undisturbed = await deployment.awaitEnding(await deployment.run('undisturbed'));
}, 180_000);

afterAll(async () => deployment.stop(), 60_000);

test('a killed rank is replaced, and the weights are the same bits', async () => {
  const handle = await deployment.run('rank');
  await deployment.untilLines('rank', 1, killAfterStep);
  process.kill(deployment.ranks()[0]!, 'SIGKILL');
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, undisturbed);
  expect(interruptions(end.result)).toMatchObject([{ event: 'rank_lost', exactness: 'bitwise' }]);
  // The parent notices the exit at once; no timeout has to pass.
  expect(interruptions(end.result)[0]!.detectedAfter).toBeLessThan(5);
}, 120_000);

test('after the host worker is killed, the next one resumes the run within seconds', async () => {
  const handle = await deployment.run('host');
  await deployment.untilLines('host', 1, killAfterStep);
  const [rank] = deployment.ranks();
  await deployment.host.kill();
  await deployment.restart('host');
  const restartTime = Date.now();
  await deployment.untilLines('host', 2, 1);
  expect(Date.now() - restartTime).toBeLessThan(20_000);
  expect(identifyProcess(rank!)).toBeNull();
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, undisturbed);
  expect(interruptions(end.result)).toMatchObject([{ event: 'host_lost', exactness: 'bitwise' }]);
}, 120_000);

/** Namespaces need privileges that CI has and a plain user's account may lack. */
const container = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
const isPrivileged = spawnSync(container[0]!, [...container.slice(1), 'true']).status === 0;

(isPrivileged ? test : test.skip)(
  'a host worker in another container, with the same host name and folders, is not taken for one that was killed',
  async () => {
    expect(await deployment.host.stop()).toBe(0);
    await deployment.restart('host', container);
    const handle = await deployment.run('container');
    await deployment.untilLines('container', 1, 3);
    await handle.signal('pause');
    await deployment.untilPhase(handle, 'paused');
    // It reports killed host workers when it starts, and every three seconds.
    const neighbor = await deployment.startAnotherHost();
    await new Promise((resolve) => setTimeout(resolve, 4000));
    await handle.signal('resume');
    const end = await deployment.awaitEnding(handle);
    expectSameEnd(end, undisturbed);
    expect(interruptions(end.result)).toEqual([]);
    await deployment.host.kill();
    deployment.host = neighbor;
  },
  120_000,
);

test('training continues while the control worker is killed and replaced', async () => {
  const handle = await deployment.run('control');
  await deployment.untilLines('control', 1, killAfterStep);
  await deployment.control.kill();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await deployment.restart('control');
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, undisturbed);
  expect(interruptions(end.result)).toEqual([]);
}, 120_000);

test('training continues while the server is killed and restarted on its database', async () => {
  const handle = await deployment.run('server');
  await deployment.untilLines('server', 1, killAfterStep);
  await deployment.server.kill();
  await new Promise((resolve) => setTimeout(resolve, 5000));
  await deployment.server.restart();
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, undisturbed);
  expect(interruptions(end.result)).toEqual([]);
}, 120_000);

test('on SIGTERM to the host worker the rank commits, and no step is lost', async () => {
  const handle = await deployment.run('preempted');
  await deployment.untilLines('preempted', 1, killAfterStep);
  expect(await deployment.host.stop()).toBe(0);
  await deployment.restart('host');
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, undisturbed);
  expect(interruptions(end.result)).toMatchObject([
    { event: 'preempted', exactness: 'bitwise', stepsLost: 0 },
  ]);
}, 120_000);

test('a run whose server, workers and rank are killed at once ends with the same bits', async () => {
  const handle = await deployment.run('everything');
  await deployment.untilLines('everything', 1, killAfterStep);
  const { control, host, server } = deployment;
  await Promise.all([control.kill(), host.kill(), server.kill()]);
  await deployment.server.restart();
  await Promise.all([deployment.restart('control'), deployment.restart('host')]);
  const end = await deployment.awaitEnding(handle);
  expectSameEnd(end, undisturbed);
  expect(interruptions(end.result)).toMatchObject([{ event: 'host_lost' }]);
}, 120_000);

test('a paused run makes no step until it is resumed', async () => {
  const handle = await deployment.run('paused');
  await deployment.untilLines('paused', 1, 3);
  await handle.signal('pause');
  await deployment.untilPhase(handle, 'paused');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const file = path.join(deployment.folder, 'paused', 'metrics.jsonl');
  const metricsBefore = await readFile(file, 'utf8');
  await new Promise((resolve) => setTimeout(resolve, 2000));
  expect(await readFile(file, 'utf8')).toBe(metricsBefore);
  await handle.signal('resume');
  expectSameEnd(await deployment.awaitEnding(handle), undisturbed);
}, 120_000);

test('a stopped run ends early and publishes the model it has', async () => {
  const handle = await deployment.run('stopped');
  await deployment.untilLines('stopped', 1, 3);
  await handle.signal('stop');
  const result = (await handle.result()) as FinetuneResult;
  expect(result.state).toBe('stopped');
  expect(result.steps).toBeLessThan(2 * stepsOfEpoch);
  await expect(readFile(path.join(result.model, 'config.json'))).resolves.toBeDefined();
}, 120_000);
