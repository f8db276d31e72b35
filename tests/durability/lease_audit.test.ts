/**
 * Tests which slots a host takes back from runs that do not report: with a real server, and a workflow that follows a
 * script.
 */
import type { Grant, TrainRequest } from '../../contracts/index.js';
import { Lease } from '../../workers/host/lease.js';
import { LeaseAudit } from '../../workers/host/lease_audit.js';
import type { RankProcess } from '../../workers/host/rank_process.js';
import { outcome, ScriptedGang } from '../support/scripted_gang.js';
import { TestServer } from '../support/temporal_server.js';
import { until } from '../support/until.js';

let server: TestServer;
let gang: ScriptedGang;

beforeAll(async () => {
  server = await TestServer.start();
  gang = await ScriptedGang.start(server.address);
}, 60_000);
afterAll(async () => {
  await gang.stop();
  await server.stop();
});

/** Opens the lease of a run between two epochs. */
async function openLease(workflowId: string, generation: number) {
  const run = { version: 1, id: workflowId, outputDir: '/run', recipeDigest: 'a'.repeat(64) } as const;
  const grant: Grant = { version: 1, run: workflowId, generation, worldSize: 1, members: [] };
  const rank = {
    progress: null,
    gone: new Promise(() => {}),
    start: async () => undefined,
    train: async () => ({ kind: 'epoch' }),
    request: () => undefined,
    exit: async () => true,
  };
  let hasEnded = false;
  const lease = new Lease(
    run,
    'cpu:0',
    () => rank as unknown as RankProcess,
    () => {
      hasEnded = true;
    },
  );
  const requests = { number: 0, paused: false, stopping: false, checkpoint: 0 };
  const model = { model: '/model' };
  const data = { train: '/data', validation: {}, report: {} };
  await lease.train(
    { run, grant, model, data, epoch: 0, requests } as unknown as TrainRequest,
    () => undefined,
  );
  lease.grant = grant;
  const audit = new LeaseAudit(gang.client, () => [lease]);
  return {
    async endedByAudit() {
      await audit.round();
      audit.close();
      return hasEnded;
    },
  };
}

test('a run that holds the slot keeps it; one that holds another generation, or was terminated, does not', async () => {
  let finish = () => {};
  const training = new Promise<void>((resolve) => {
    finish = resolve;
  });
  gang.follow([
    async () => {
      await training;
      return outcome('finished', 10);
    },
  ]);
  const handle = await gang.start();
  await until('training to begin', () => gang.requests.length > 0);
  const currentLease = await openLease(handle.workflowId, 1);
  expect(await currentLease.endedByAudit()).toBe(false);
  const olderLease = await openLease(handle.workflowId, 7);
  expect(await olderLease.endedByAudit()).toBe(true);
  await handle.terminate();
  const terminatedLease = await openLease(handle.workflowId, 1);
  expect(await terminatedLease.endedByAudit()).toBe(true);
  finish();
});

test('a server that does not answer frees no slot', async () => {
  const lease = await openLease('unknown to every server', 1);
  await server.kill();
  try {
    expect(await lease.endedByAudit()).toBe(false);
  } finally {
    await server.restart();
  }
}, 60_000);
