/** Tests that no worker reads a file of a gigabyte because it lies where a run's documents do. */
import { mkdirSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { appendCheckpoint, readHistory, readLog } from '../../../components/checkpoint/index.js';
import { finish, otherOwner, recordTimeline, takeGeneration } from '../../../recipes/index.js';
import { CheckpointError, FencedError } from '../../../shared/errors.js';
import type { Storage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { digest, newRun, signature, trainerState } from './fixture.js';

const root = temporaryFolder();
const tooLong = 'it has 1073741824 bytes, and at most 33554432 are allowed';

/** Leaves a sparse file of 1 GiB. */
function leaveHugeFile(storage: { folder: string }, key: string): void {
  const file = path.join(storage.folder, key);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, '');
  truncateSync(file, 2 ** 30);
}

const runIn = (storage: Storage) => ({
  version: 1 as const,
  id: 'r',
  outputDir: storage.uri,
  recipeDigest: digest,
});
const holder = { holder: 'pool.host.1', worldSize: 1 };
const draft = {
  kind: 'checkpoint' as const,
  generation: 1,
  worldSize: 1,
  recipeDigest: digest,
  planDigest: digest,
  resumedFrom: null,
  signatures: [signature],
  reduction: 'tree-1' as const,
  trainer: trainerState(1),
  tensors: {},
  files: [],
  metrics: null,
};

test('a run.json of a gigabyte is not read by who asks for its owner', async () => {
  const storage = await newRun(root);
  leaveHugeFile(storage, 'run.json');
  const refused = otherOwner(runIn(storage), 'workflow-run');
  await expect(refused).rejects.toThrow(CheckpointError);
  await expect(refused).rejects.toThrow(`${storage.uri}/run.json: ${tooLong}; restore the file`);
});

test.each(['failed', 'stopped'] as const)('nor by the end of a run that %s', async (state) => {
  const storage = await newRun(root);
  leaveHugeFile(storage, 'run.json');
  const result = { step: 1 } as never;
  const end = state === 'failed' ? { state, failure: 'it failed' } : { state, result };
  const refused = finish(runIn(storage), 'workflow-run', end);
  await expect(refused).rejects.toThrow(CheckpointError);
  await expect(refused).rejects.toThrow(`${storage.uri}/run.json: ${tooLong}`);
});

test('an entry of the log of a gigabyte is damage: it is named, and the next generation skips what it may have taken', async () => {
  const storage = await newRun(root);
  expect(await takeGeneration(runIn(storage), holder)).toBe(1);
  leaveHugeFile(storage, 'commits/00000002.json');
  const refused = appendCheckpoint(storage, draft);
  await expect(refused).rejects.toThrow(FencedError);
  await expect(refused).rejects.toThrow(`${storage.uri}/commits/00000002.json: ${tooLong}`);
  expect(await takeGeneration(runIn(storage), holder)).toBe(3);
  const damage: (string | null)[] = [];
  for await (const logged of readLog(storage)) damage.push(logged.damage);
  expect(damage).toEqual([null, tooLong, null]);
});

test('an entry that would be too long to be read back is not written', async () => {
  const storage = await newRun(root);
  await takeGeneration(runIn(storage), holder);
  const tensor = { dtype: 'f32' as const, shape: [1], role: 'trained' as const };
  const refused = appendCheckpoint(storage, { ...draft, tensors: { ['w'.repeat(2 ** 25)]: tensor } });
  await expect(refused).rejects.toThrow(
    /^.*: the commit is not valid: it has \d+ bytes, and at most 33554432 are allowed$/,
  );
  expect(await takeGeneration(runIn(storage), holder)).toBe(2);
});

test('a file of the timeline of a gigabyte is not read to see what an earlier attempt wrote', async () => {
  const storage = await newRun(root);
  const key = 'timeline/20260102030405000-00000001-workflow.jsonl';
  leaveHugeFile(storage, key);
  const startedAt = '2026-01-02T03:04:05.000Z';
  const entry = { number: 1, at: startedAt, event: 'run_started' } as never;
  const refused = recordTimeline(
    { version: 1, run: runIn(storage), startedAt, entries: [entry] },
    'workflow-run',
  );
  await expect(refused).rejects.toThrow(CheckpointError);
  await expect(refused).rejects.toThrow(`${storage.uri}/${key}: ${tooLong}`);
});

test('a history of evaluations of a gigabyte is refused by name', async () => {
  const storage = await newRun(root);
  leaveHugeFile(storage, 'evaluation/history.json');
  await expect(readHistory(storage)).rejects.toThrow(
    `${storage.uri}/evaluation/history.json: ${tooLong}; delete it`,
  );
});
