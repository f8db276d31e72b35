import { jest } from '@jest/globals';
import type { EpochOutcome, Grant, RankStart, RunRequests, TrainRequest } from '../../../contracts/index.js';
import { Lease } from '../../../workers/host/lease.js';
import type { RankProcess } from '../../../workers/host/rank_process.js';

const digest = 'a'.repeat(64);
const run = { version: 1, id: 'r', outputDir: '/run', recipeDigest: digest } as const;
const grant: Grant = {
  version: 1,
  run: 'r',
  generation: 1,
  worldSize: 1,
  members: [{ queue: 'q', host: 'h', incarnation: '1', devices: ['cpu:0'], firstRank: 0 }],
};
const outcome = { kind: 'epoch', step: 5 } as EpochOutcome;

function request(epoch: number, requests: Partial<RunRequests> = {}): TrainRequest {
  return {
    version: 1,
    run,
    grant,
    model: { folder: '/model' } as TrainRequest['model'],
    data: { train: '/data', validation: {}, report: {} },
    epoch,
    requests: { number: 0, paused: false, stopping: false, checkpoint: 0, ...requests },
    claim: 'claim',
  };
}

/** In place of a rank's process; not killable, of one that waits in the kernel, which SIGKILL does not end. */
class ScriptedRank {
  progress = null;
  onProgress = () => {};
  starts: RankStart[] = [];
  requests: RunRequests[] = [];
  #end = () => {};
  gone = new Promise<void>((resolve) => {
    this.#end = resolve;
  });

  constructor(readonly killable = true) {}

  start = async (start: RankStart) => void this.starts.push(start);
  train = async () => outcome;
  request = (requests: RunRequests) => void this.requests.push(requests);
  exit = async () => this.kill();
  kill = async () => {
    if (this.killable) this.#end();
    return this.killable;
  };
}

function open(rank = new ScriptedRank()) {
  const ends: boolean[] = [];
  const lease = new Lease(
    run,
    'cpu:0',
    () => rank as unknown as RankProcess,
    (_lease, torn) => ends.push(torn),
  );
  return { lease, rank, ends };
}

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

test('a slot is given back when its run does not begin within a minute', async () => {
  const { lease, ends } = open();
  lease.reserve(grant);
  await jest.advanceTimersByTimeAsync(59_000);
  expect(ends).toHaveLength(0);
  await jest.advanceTimersByTimeAsync(2000);
  expect(ends).toHaveLength(1);
});

test('a slot is kept through an evaluation of an hour between two epochs', async () => {
  const { lease, ends } = open();
  lease.reserve(grant);
  await lease.train(request(0), () => undefined);
  await jest.advanceTimersByTimeAsync(3_600_000);
  expect(ends).toHaveLength(0);
  await expect(lease.train(request(1), () => undefined)).resolves.toEqual(outcome);
});

test('a rank starts with the requests that came before it, and later gets only newer ones', async () => {
  const { lease, rank } = open();
  lease.reserve(grant);
  lease.request({ number: 2, paused: true, stopping: false, checkpoint: 0 });
  await lease.train(request(0, { number: 1 }), () => undefined);
  expect(rank.starts[0]!.requests).toMatchObject({ number: 2, paused: true });
  await lease.train(request(1, { number: 3 }), () => undefined);
  lease.request({ number: 2, paused: true, stopping: false, checkpoint: 0 });
  expect(rank.requests.map(({ number }) => number)).toEqual([3]);
});

test('a lease whose rank SIGKILL does not end reports that', async () => {
  const { lease, ends } = open(new ScriptedRank(false));
  lease.reserve(grant);
  await lease.train(request(0), () => undefined);
  await expect(lease.end()).resolves.toBe(false);
  expect(ends).toEqual([false]);
});
