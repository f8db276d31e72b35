/** Tests what a host worker learns of its rank, with a real rank process. */
import type { ApplicationFailure } from '@temporalio/common';
import { type LossDetails, noRequests, type RankStart } from '../../contracts/index.js';
import { RankProcess } from '../../workers/host/rank_process.js';

const digest = 'a'.repeat(64);
const start: RankStart = {
  type: 'start',
  version: 1,
  run: { version: 1, id: 'r', outputDir: '/nonexistent/run', recipeDigest: digest },
  generation: 1,
  worldSize: 1,
  device: 'cpu:0',
  model: '/nonexistent/model',
  data: { train: '/nonexistent/data', validation: {}, report: {} },
  requests: noRequests,
};

test('a rank that cannot start fails with the reason and the code of its error', async () => {
  const rank = new RankProcess({});
  await expect(rank.start(start)).rejects.toMatchObject({
    code: 'StorageError',
    message: expect.stringContaining('/nonexistent/run'),
  });
  await rank.gone;
});

test('a killed rank is lost at once, and the failure names the signal', async () => {
  const rank = new RankProcess({});
  const attempt = rank.start(start);
  process.kill(rank.pid!, 'SIGKILL');
  await expect(attempt).rejects.toMatchObject({
    type: 'RankLost',
    message: expect.stringContaining('SIGKILL'),
  });
});

test('a rank that hangs is killed, and reported lost', async () => {
  const rank = new RankProcess({}, 1000);
  process.kill(rank.pid!, 'SIGSTOP');
  await expect(rank.start(start)).rejects.toMatchObject({
    type: 'RankLost',
    message: expect.stringContaining('hung'),
  });
  await rank.gone;
});

test('a rank exits on request', async () => {
  const rank = new RankProcess({});
  await rank.exit();
  expect(() => process.kill(rank.pid!, 0)).toThrow('ESRCH');
});

test('a clock that was set by two hours does not change for how long a killed rank was silent', async () => {
  const rank = new RankProcess({});
  const started = rank.start(start);
  const { now } = Date;
  Date.now = () => now() + 7_200_000;
  try {
    process.kill(rank.pid!, 'SIGKILL');
    const lost = (await started.catch((error: unknown) => error)) as ApplicationFailure;
    const [{ silentFor }] = lost.details as [LossDetails];
    expect(silentFor).toBeGreaterThanOrEqual(0);
    expect(silentFor).toBeLessThan(60);
  } finally {
    Date.now = now;
  }
});
