/**
 * Whatever is killed in the middle of an epoch, the run ends with the same losses and, bit for bit, the same weights as
 * one that nobody disturbed. Everything is real: the server, the workers, the ranks, the signals.
 */
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { FinetuneResult } from '../../contracts/index.js';
import { identifyProcess } from '../../shared/process_identity.js';
import { Deployment, type Ending, interruptions, stepsOfEpoch } from '../support/deployment.js';

const killAfterStep = 12;

let deployment: Deployment;
let undisturbed: Ending;

beforeAll(async () => {
  deployment = await Deployment.start();
  undisturbed = await deployment.ending(await deployment.run('undisturbed'));
}, 180_000);

afterAll(async () => deployment.stop(), 60_000);

function expectUndisturbed({ losses, weights }: Ending): void {
  expect(losses).toEqual(undisturbed.losses);
  expect(weights).toBe(undisturbed.weights);
}

test('kill -9 of the rank', async () => {
  const handle = await deployment.run('rank');
  await deployment.reached('rank', 1, killAfterStep);
  process.kill(deployment.ranks()[0]!, 'SIGKILL');
  const end = await deployment.ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end.result)).toMatchObject([{ event: 'rank_lost', exactness: 'bitwise' }]);
  // Seen by the parent, not by a timeout.
  expect(interruptions(end.result)[0]!.detectedAfter).toBeLessThan(5);
}, 120_000);

test('kill -9 of the host worker: the next one goes on within seconds', async () => {
  const handle = await deployment.run('host');
  await deployment.reached('host', 1, killAfterStep);
  const [rank] = deployment.ranks();
  await deployment.host.kill();
  await deployment.restart('host');
  const restarted = Date.now();
  await deployment.reached('host', 2, 1);
  expect(Date.now() - restarted).toBeLessThan(20_000);
  expect(identifyProcess(rank!)).toBeNull();
  const end = await deployment.ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end.result)).toMatchObject([{ event: 'host_lost', exactness: 'bitwise' }]);
}, 120_000);

/** Namespaces need privileges that CI has and a plain user's account may lack. */
const container = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
const isPrivileged = spawnSync(container[0]!, [...container.slice(1), 'true']).status === 0;

(isPrivileged ? test : test.skip)(
  'a host worker in another container, with the same host name and folders, is not taken for killed',
  async () => {
    expect(await deployment.host.stop()).toBe(0);
    await deployment.restart('host', container);
    const handle = await deployment.run('container');
    await deployment.reached('container', 1, 3);
    await handle.signal('pause');
    await deployment.phase(handle, 'paused');
    // It reports killed host workers when it starts, and every three seconds.
    const neighbor = await deployment.anotherHost();
    await new Promise((resolve) => setTimeout(resolve, 4000));
    await handle.signal('resume');
    const end = await deployment.ending(handle);
    expectUndisturbed(end);
    expect(interruptions(end.result)).toEqual([]);
    await deployment.host.kill();
    deployment.host = neighbor;
  },
  120_000,
);

test('kill -9 of the control worker: training does not even notice', async () => {
  const handle = await deployment.run('control');
  await deployment.reached('control', 1, killAfterStep);
  await deployment.control.kill();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await deployment.restart('control');
  const end = await deployment.ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end.result)).toEqual([]);
}, 120_000);

test('kill -9 of the server, restarted on its database: training does not even notice', async () => {
  const handle = await deployment.run('server');
  await deployment.reached('server', 1, killAfterStep);
  await deployment.server.kill();
  await new Promise((resolve) => setTimeout(resolve, 5000));
  await deployment.server.restart();
  const end = await deployment.ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end.result)).toEqual([]);
}, 120_000);

test('SIGTERM to the host worker: the rank commits, no step is lost', async () => {
  const handle = await deployment.run('preempted');
  await deployment.reached('preempted', 1, killAfterStep);
  expect(await deployment.host.stop()).toBe(0);
  await deployment.restart('host');
  const end = await deployment.ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end.result)).toMatchObject([
    { event: 'preempted', exactness: 'bitwise', stepsLost: 0 },
  ]);
}, 120_000);

test('kill -9 of everything at once', async () => {
  const handle = await deployment.run('everything');
  await deployment.reached('everything', 1, killAfterStep);
  const { control, host, server } = deployment;
  await Promise.all([control.kill(), host.kill(), server.kill()]);
  await deployment.server.restart();
  await Promise.all([deployment.restart('control'), deployment.restart('host')]);
  const end = await deployment.ending(handle);
  expectUndisturbed(end);
  expect(interruptions(end.result)).toMatchObject([{ event: 'host_lost' }]);
}, 120_000);

test('pause holds the steps where they are, and resume goes on', async () => {
  const handle = await deployment.run('paused');
  await deployment.reached('paused', 1, 3);
  await handle.signal('pause');
  await deployment.phase(handle, 'paused');
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const file = path.join(deployment.folder, 'paused', 'metrics.jsonl');
  const before = await readFile(file, 'utf8');
  await new Promise((resolve) => setTimeout(resolve, 2000));
  expect(await readFile(file, 'utf8')).toBe(before);
  await handle.signal('resume');
  expectUndisturbed(await deployment.ending(handle));
}, 120_000);

test('stop ends a run early and publishes what it has', async () => {
  const handle = await deployment.run('stopped');
  await deployment.reached('stopped', 1, 3);
  await handle.signal('stop');
  const result = (await handle.result()) as FinetuneResult;
  expect(result.state).toBe('stopped');
  expect(result.steps).toBeLessThan(2 * stepsOfEpoch);
  await expect(readFile(path.join(result.model, 'config.json'))).resolves.toBeDefined();
}, 120_000);
