/** The timeline in a run's folder, written by the activity's function to real storage. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { TimelineEntry } from '../../contracts/index.js';
import { recordTimeline } from '../../recipes/index.js';
import { openStorage } from '../../shared/storage/index.js';
import { startS3Server } from '../support/s3_server.js';
import { temporaryFolder } from '../support/temporary_folder.js';

const folder = temporaryFolder();
const startedAt = '2026-01-02T03:04:05.678Z';
const [workflow, otherWorkflow] = [
  '0199aaaa-1111-7000-8000-000000000000',
  '0199bbbb-1111-7000-8000-000000000000',
];

const entry = (number: number, detail: string): TimelineEntry => ({
  number,
  at: startedAt,
  event: 'preempted',
  generation: 1,
  step: number,
  detail,
  detectedAfter: null,
  capacityAfter: null,
  loadedAfter: null,
  firstStepAfter: null,
  stepsLost: null,
  exactness: null,
});

const entries = (first: number, last: number, detail = 'before') =>
  Array.from({ length: last - first + 1 }, (_, index) => entry(first + index, detail));

const record = (outputDir: string, written: TimelineEntry[], workflowRunId = workflow!) => {
  const run = { version: 1, id: 'run', outputDir, recipeDigest: 'a'.repeat(64) } as const;
  return recordTimeline({ version: 1, run, startedAt, entries: written }, workflowRunId);
};

const names = (name: string) => readdir(path.join(folder, name, 'timeline'));
const read = (name: string, file: string) => readFile(path.join(folder, name, 'timeline', file), 'utf8');

test('an attempt whose answer was lost has written, and its file stays as it is', async () => {
  const run = path.join(folder, 'lost-answer');
  expect(await record(run, entries(1, 3))).toBe(3);
  const [file] = await names('lost-answer');
  const before = await read('lost-answer', file!);
  expect(
    before
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual(entries(1, 3));
  expect(await record(run, entries(1, 5, 'after'))).toBe(3);
  expect(await names('lost-answer')).toEqual([file]);
  expect(await read('lost-answer', file!)).toBe(before);
});

test('what follows is another file, whose name sorts after it', async () => {
  const run = path.join(folder, 'follows');
  await record(run, entries(1, 9));
  expect(await record(run, entries(10, 12))).toBe(12);
  const files = (await names('follows')).sort();
  expect(files).toHaveLength(2);
  expect((await read('follows', files[1]!)).split('\n')[0]).toBe(JSON.stringify(entry(10, 'before')));
});

test('another workflow of the same run does not meet what the first one wrote', async () => {
  const run = path.join(folder, 'reset');
  expect(await record(run, entries(1, 3))).toBe(3);
  expect(await record(run, entries(1, 5, 'reset'), otherWorkflow)).toBe(5);
  expect(await names('reset')).toHaveLength(2);
});

test('on S3 too the first attempt wins', async () => {
  const s3 = await startS3Server(['runs']);
  Object.assign(process.env, s3.env);
  try {
    expect(await record('s3://runs/run', entries(1, 3))).toBe(3);
    expect(await record('s3://runs/run', entries(1, 5, 'after'))).toBe(3);
    const storage = await openStorage('s3://runs/run', { roots: null });
    const keys: string[] = [];
    for await (const { key } of storage.list('timeline/')) keys.push(key);
    expect(keys).toHaveLength(1);
    expect((await storage.read(keys[0]!)).toString('utf8')).not.toContain('after');
  } finally {
    await s3.stop();
  }
}, 60_000);
