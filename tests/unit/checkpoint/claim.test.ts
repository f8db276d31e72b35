import {
  claimRun,
  readClaim,
  refuseUnderWay,
  takeClaim,
  takeGeneration,
  updateRunDocument,
} from '../../../components/checkpoint/index.js';
import { FencedError } from '../../../shared/errors.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { digest, newRun, newSaver, save } from './fixture.js';

const root = temporaryFolder();
const production = {
  server: 'temporal.example.com:7233',
  namespace: 'research',
  namespaceId: 'namespace-1',
  workflowId: 'countries',
  firstRunId: 'run-1',
};
const development = {
  ...production,
  server: '127.0.0.1:7233',
  namespaceId: 'namespace-2',
  firstRunId: 'run-2',
};
const holder = { holder: 'pool.host.1', worldSize: 1 };
const request = (incarnation: number, ordinal: number, grantId = `grant-${incarnation}-${ordinal}`) => ({
  ...holder,
  claim: { incarnation, ordinal, grantId },
});

async function newClaimedRun() {
  const storage = await newRun(root);
  await claimRun(storage, {
    runId: 'countries',
    recipeDigest: digest,
    workflow: null,
    fresh: false,
    recipes: { previous: null, next: {} },
    guarded: [],
  });
  await takeClaim(storage, production);
  return storage;
}

test('a run that a workflow on another server drives is refused, saying which and when it last committed', async () => {
  const storage = await newClaimedRun();
  await expect(refuseUnderWay(storage, development)).rejects.toThrow(
    /, without a commit so far; stop it there/,
  );
  await save(await newSaver(storage), 1200);
  await expect(refuseUnderWay(storage, development)).rejects.toThrow(
    /is under way as 'countries' on namespace research of server temporal\.example\.com:7233, last commit \d+ s ago at step 1,200; stop it there, or take it over with --take-over$/,
  );
});

test('a run may be continued from the same namespace, and from any once it is over', async () => {
  const storage = await newClaimedRun();
  await refuseUnderWay(storage, { namespaceId: production.namespaceId });
  await updateRunDocument(storage, 'countries', { state: 'failed', failure: 'out of memory' });
  await refuseUnderWay(storage, development);
});

test('a claim fences the generation before it at once, and names the workflow', async () => {
  const storage = await newClaimedRun();
  const saver = await newSaver(storage);
  await save(saver, 1);
  expect((await takeClaim(storage, development)).incarnation).toBe(2);
  await expect(save(saver, 2)).rejects.toThrow(FencedError);
  await expect(save(saver, 3)).rejects.toThrow(
    /the workflow 'countries' \(namespace research of 127\.0\.0\.1:7233\) has taken over this run/,
  );
  const nextSaver = await newSaver(storage);
  expect((await save(nextSaver, 2)).generation).toBe(2);
});

test('claiming a run again for the same workflow run adds no entry', async () => {
  const storage = await newClaimedRun();
  expect((await takeClaim(storage, production)).sequence).toBe(1);
  expect((await readClaim(storage))?.incarnation).toBe(1);
});

test('a grant takes one generation, however often it is requested', async () => {
  const storage = await newClaimedRun();
  const generation = await takeGeneration(storage, request(1, 1));
  expect(await takeGeneration(storage, request(1, 1))).toEqual(generation);
  expect((await takeGeneration(storage, request(1, 2))).generation).toBe(2);
});

test.each([
  ['an earlier request', request(1, 1, 'late')],
  ['an older claim', request(0, 9, 'late')],
])('a generation for %s than the newest is refused', async (_, late) => {
  const storage = await newClaimedRun();
  await takeGeneration(storage, request(1, 2));
  await expect(takeGeneration(storage, late)).rejects.toThrow(FencedError);
});

test('a generation for a claim that was taken over is refused', async () => {
  const storage = await newClaimedRun();
  await takeClaim(storage, development);
  await expect(takeGeneration(storage, request(1, 1))).rejects.toThrow(/request 1 of claim 1 comes too late/);
  expect((await takeGeneration(storage, request(2, 1))).generation).toBe(1);
});
