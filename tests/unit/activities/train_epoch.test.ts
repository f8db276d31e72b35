import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { gangActivities, type RankHost } from '../../../activities/index.js';
import { claimRun } from '../../../components/checkpoint/index.js';
import { noRequests, type TrainRequest } from '../../../contracts/index.js';
import { FencedError } from '../../../shared/errors.js';
import { openStorage } from '../../../shared/storage/index.js';

const digest = 'a'.repeat(64);
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-train-epoch-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Returns the failure of `trainEpoch` whose rank is fenced in a folder that workflow `owner` has claimed. */
async function trainFenced(owner: string, claim: string): Promise<ApplicationFailure> {
  await claimRun(await openStorage(folder, { roots: null }), {
    runId: 'r',
    recipeDigest: digest,
    workflow: { namespace: 'prod', workflowId: 'r', runId: owner },
    fresh: false,
    recipes: { previous: null, next: {} },
    guarded: [],
  });
  const host = {
    train: () => Promise.reject(new FencedError('generation 2 has taken over')),
  } as unknown as RankHost;
  const memory = {
    weights: 1,
    trained: 1,
    gradients: 1,
    optimizer: 1,
    arena: 1,
    workspace: 1,
    snapshot: 1,
    total: 7,
  };
  const request: TrainRequest = {
    version: 1,
    run: { version: 1, id: 'r', outputDir: folder, recipeDigest: digest },
    grant: {
      version: 1,
      run: 'r',
      generation: 1,
      worldSize: 1,
      members: [{ queue: 'q', host: 'h', incarnation: '1', devices: ['cpu:0'], firstRank: 0 }],
    },
    model: { folder: '/model', digest, parameters: 1, trainedParameters: 1, memory },
    data: { train: '/data', validation: {}, report: {} },
    epoch: 0,
    requests: noRequests,
    claim,
  };
  const environment = new MockActivityEnvironment(undefined, { logger: new DefaultLogger('ERROR') });
  return await environment.run(gangActivities(host).trainEpoch, request).then(
    () => {
      throw new Error('it succeeded');
    },
    (failure: ApplicationFailure) => failure,
  );
}

test('a run fenced by another workflow is not tried again, and the failure names that workflow and its namespace', async () => {
  expect(await trainFenced('other', 'mine')).toMatchObject({
    type: 'FencedError',
    nonRetryable: true,
    message: expect.stringContaining(`workflow r in namespace prod (run other) has taken over ${folder}`),
  });
});

test('a run fenced by a generation that it took itself and gave up gets another gang', async () => {
  expect(await trainFenced('mine', 'mine')).toMatchObject({
    type: 'FencedError',
    nonRetryable: false,
    details: [{ version: 1, retry: 'process' }],
  });
});
