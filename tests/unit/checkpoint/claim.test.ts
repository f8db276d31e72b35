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

async function claimedFolder() {
  const run = await newRun(root);
  await claimRun(run, {
    run: 'countries',
    recipeDigest: digest,
    workflow: null,
    fresh: false,
    recipes: { previous: null, next: {} },
    guarded: [],
  });
  await takeClaim(run, production);
  return run;
}

test('a run that a workflow on another server drives is refused, saying which and when it last committed', async () => {
  const run = await claimedFolder();
  await expect(refuseUnderWay(run, development)).rejects.toThrow(/, without a commit so far; stop it there/);
  await save(await newSaver(run), 1200);
  await expect(refuseUnderWay(run, development)).rejects.toThrow(
    /is under way as 'countries' on namespace research of server temporal\.example\.com:7233, last commit \d+ s ago at step 1,200; stop it there, or take it over with --take-over$/,
  );
});

test('the same namespace may continue it, and any once it is over', async () => {
  const run = await claimedFolder();
  await refuseUnderWay(run, { namespaceId: production.namespaceId });
  await updateRunDocument(run, 'countries', { state: 'failed', failure: 'out of memory' });
  await refuseUnderWay(run, development);
});

test('a claim fences the generation before it at once, and names the workflow', async () => {
  const run = await claimedFolder();
  const saver = await newSaver(run);
  await save(saver, 1);
  expect((await takeClaim(run, development)).incarnation).toBe(2);
  await expect(save(saver, 2)).rejects.toThrow(FencedError);
  await expect(save(saver, 3)).rejects.toThrow(
    /the workflow 'countries' \(namespace research of 127\.0\.0\.1:7233\) has taken over this run/,
  );
  const next = await newSaver(run);
  expect((await save(next, 2)).generation).toBe(2);
});

test('claiming again for the same workflow run adds nothing', async () => {
  const run = await claimedFolder();
  expect((await takeClaim(run, production)).sequence).toBe(1);
  expect((await readClaim(run))?.incarnation).toBe(1);
});

test('a generation is taken once for a grant, however often it is asked for', async () => {
  const run = await claimedFolder();
  const first = await takeGeneration(run, request(1, 1));
  expect(await takeGeneration(run, request(1, 1))).toEqual(first);
  expect((await takeGeneration(run, request(1, 2))).generation).toBe(2);
});

test.each([
  ['an earlier request', request(1, 1, 'late')],
  ['an older claim', request(0, 9, 'late')],
])('a generation for %s than the newest is refused', async (_, late) => {
  const run = await claimedFolder();
  await takeGeneration(run, request(1, 2));
  await expect(takeGeneration(run, late)).rejects.toThrow(FencedError);
});

test('a generation for a claim that was taken over is refused', async () => {
  const run = await claimedFolder();
  await takeClaim(run, development);
  await expect(takeGeneration(run, request(1, 1))).rejects.toThrow(/request 1 of claim 1 comes too late/);
  expect((await takeGeneration(run, request(2, 1))).generation).toBe(1);
});
