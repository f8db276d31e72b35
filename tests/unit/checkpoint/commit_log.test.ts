import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  appendCheckpoint,
  type CheckpointDraft,
  newestSound,
  readLog,
  requireGeneration,
  takeGeneration,
} from '../../../components/checkpoint/index.js';
import type { CommitEntry } from '../../../contracts/index.js';
import { CheckpointError, FencedError } from '../../../shared/errors.js';
import type { Storage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { digest, newRun, newSaver, save, signature, trainerState } from './fixture.js';

const root = temporaryFolder();
const holder = { holder: 'pool.host.1', worldSize: 1 };

function draft(generation: number, step = 1): CheckpointDraft {
  return {
    kind: 'checkpoint',
    generation,
    worldSize: 1,
    recipeDigest: digest,
    planDigest: digest,
    resumedFrom: null,
    signatures: [signature],
    reduction: 'tree-1',
    trainer: trainerState(step),
    tensors: {},
    files: [],
    metrics: null,
  };
}

async function readEntries(storage: Storage): Promise<(CommitEntry | null)[]> {
  const entries: (CommitEntry | null)[] = [];
  for await (const { entry } of readLog(storage)) entries.unshift(entry);
  return entries;
}

function entryFile(run: { folder: string }, sequence: number): string {
  return path.join(run.folder, `commits/${String(sequence).padStart(8, '0')}.json`);
}

test('generations and checkpoints are numbered from 1 without gaps', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, holder);
  await appendCheckpoint(storage, draft(generation));
  await takeGeneration(storage, holder);
  const log = await readEntries(storage);
  expect(log.map((entry) => [entry?.sequence, entry?.kind, entry?.generation])).toEqual([
    [1, 'generation', 1],
    [2, 'checkpoint', 1],
    [3, 'generation', 2],
  ]);
});

test('an overtaken generation can never commit', async () => {
  const storage = await newRun(root);
  const overtaken = await takeGeneration(storage, holder);
  await takeGeneration(storage, holder);
  await expect(appendCheckpoint(storage, draft(overtaken.generation))).rejects.toThrow(FencedError);
  await expect(requireGeneration(storage, overtaken.generation)).rejects.toThrow(
    /generation 2 has taken over this run; generation 1 may not commit/,
  );
  expect(await readEntries(storage)).toHaveLength(2);
});

test('a generation that was never taken cannot commit', async () => {
  const storage = await newRun(root);
  await expect(appendCheckpoint(storage, draft(1))).rejects.toThrow(CheckpointError);
});

test('processes that race for a generation get different ones', async () => {
  const storage = await newRun(root);
  const takenEntries = await Promise.all(Array.from({ length: 12 }, () => takeGeneration(storage, holder)));
  const generations = takenEntries.map(({ generation }) => generation).sort((a, b) => a - b);
  expect(generations).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
});

test('no commit follows a newer generation, however taking and committing interleave', async () => {
  const storage = await newRun(root);
  const worker = async (): Promise<number> => {
    let commits = 0;
    for (let round = 0; round < 3; round += 1) {
      const { generation } = await takeGeneration(storage, holder);
      try {
        for (let step = 1; step <= 3; step += 1) {
          await appendCheckpoint(storage, draft(generation, step));
          commits += 1;
        }
      } catch (error) {
        if (!(error instanceof FencedError)) throw error;
      }
    }
    return commits;
  };
  const commits = (await Promise.all([worker(), worker(), worker(), worker()])).reduce((a, b) => a + b);
  const log = await readEntries(storage);
  expect(log.filter((entry) => entry?.kind === 'checkpoint')).toHaveLength(commits);
  const generations = log.map((entry) => entry!.generation);
  expect(generations).toEqual([...generations].sort((a, b) => a - b));
});

test('a damaged entry is named, its number is not used again, and the next generation is above any that it may hold', async () => {
  const storage = await newRun(root);
  const firstEntry = await takeGeneration(storage, holder);
  await takeGeneration(storage, holder);
  const file = entryFile(storage, 2);
  writeFileSync(
    file,
    readFileSync(file).map((byte, i) => (i === 60 ? byte ^ 1 : byte)),
  );
  // Entry 2 may have fenced generation 1: it must not commit, although the log names no newer generation any more.
  await expect(appendCheckpoint(storage, draft(firstEntry.generation))).rejects.toThrow(FencedError);
  const nextEntry = await takeGeneration(storage, holder);
  expect([nextEntry.sequence, nextEntry.generation]).toEqual([3, 3]);
  const log = [];
  for await (const logEntry of readLog(storage)) log.push(logEntry);
  expect(log[1]?.damage).toMatch(/checksum/);
});

test.each([
  ['missing', (file: string) => rmSync(file), /missing/],
  ['empty', (file: string) => truncateSync(file, 0), /truncated/],
  ['cut', (file: string) => truncateSync(file, 100), /truncated/],
  ['replaced', (file: string) => writeFileSync(file, '{"crc32c":"00000000","entry":{}}\n'), /checksum/],
])(
  'a commit whose entry is %s is reported, and the run goes back to the one before',
  async (_, damageFile, problem) => {
    const storage = await newRun(root);
    const saver = await newSaver(storage);
    await save(saver, 10);
    const damagedCommit = await save(saver, 20);
    await takeGeneration(storage, holder);
    damageFile(entryFile(storage, damagedCommit.sequence));
    const { entry, damage } = await newestSound(storage);
    expect(entry?.trainer.step).toBe(10);
    expect(damage.map((each) => [each.sequence, each.problem])).toEqual([
      [damagedCommit.sequence, expect.stringMatching(problem)],
    ]);
  },
);

test('an entry copied to another number is damage there', async () => {
  const storage = await newRun(root);
  const saver = await newSaver(storage);
  const commit = await save(saver, 10);
  writeFileSync(entryFile(storage, commit.sequence + 1), readFileSync(entryFile(storage, commit.sequence)));
  const { entry, damage } = await newestSound(storage);
  expect(entry?.sequence).toBe(commit.sequence);
  expect(damage[0]?.problem).toMatch(/has the number 2/);
});

test('an entry that could not be read again is not written', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, holder);
  const invalidDraft = { ...draft(generation), worldSize: 0 };
  await expect(appendCheckpoint(storage, invalidDraft)).rejects.toThrow(/worldSize/);
  expect(await readEntries(storage)).toHaveLength(1);
});

test('an append that loses every number to other writers gives up and says so', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, holder);
  let attempts = 0;
  const contested = new Proxy(storage, {
    get(target, name) {
      if (name === 'createExclusive') return async () => ++attempts === 0;
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const { random } = Math;
  Math.random = () => 0; // no pauses
  try {
    await expect(appendCheckpoint(contested, draft(generation))).rejects.toThrow(
      /other writers took each of 100 numbers of the commit log first/,
    );
  } finally {
    Math.random = random;
  }
  expect(attempts).toBe(100);
});

test('the pauses of an append that loses its numbers grow to a second, and no further', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, holder);
  const contested = new Proxy(storage, {
    get(target, name) {
      if (name === 'createExclusive') return async () => false;
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const pauses: number[] = [];
  const { setTimeout: realTimeout } = globalThis;
  const { random } = Math;
  Math.random = () => 1; // the longest pauses
  globalThis.setTimeout = ((callback: () => void, pause: number) => {
    pauses.push(pause);
    return realTimeout(callback, 0);
  }) as typeof setTimeout;
  try {
    await expect(appendCheckpoint(contested, draft(generation))).rejects.toThrow(/other writers took/);
  } finally {
    Math.random = random;
    globalThis.setTimeout = realTimeout;
  }
  expect(pauses.slice(0, 12)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000]);
  expect(pauses).toHaveLength(100);
  expect(Math.max(...pauses)).toBe(1000);
});
