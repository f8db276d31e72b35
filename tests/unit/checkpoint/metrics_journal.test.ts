import { appendFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  appendTaskMetrics,
  MetricsJournal,
  settleTaskMetrics,
  takeGeneration,
} from '../../../components/checkpoint/index.js';
import type { CheckpointEntry, MetricsLine } from '../../../contracts/index.js';
import { sha256 } from '../../../shared/digest.js';
import { FencedError } from '../../../shared/errors.js';
import type { Storage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { newRun, newSaver, save } from './fixture.js';

const root = temporaryFolder();

function step(number: number, generation: number): MetricsLine {
  return {
    step: number,
    epoch: 0,
    loss: number / generation,
    grad_norm: 1,
    lr: 1e-4,
    mem: 1,
    tps: 1,
    tps_per_device: 1,
    num_tokens_per_step: 8,
    num_label_tokens: 4,
    timestamp: 0,
    generation,
  };
}

function validation(number: number, generation: number): MetricsLine {
  return { step: number, val_loss: 2, timestamp: 0, generation };
}

/** Writes one generation's lines, committing after these steps, and returns its commits by step. */
async function train(
  storage: Storage,
  resumedFrom: CheckpointEntry | null,
  lines: readonly MetricsLine[],
  commits: readonly number[] = [],
): Promise<Map<number, CheckpointEntry>> {
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const journal = await MetricsJournal.open({ storage, generation, resumedFrom });
  const saver = await newSaver(storage, { generation, resumedFrom, journal });
  const commitsByStep = new Map<number, CheckpointEntry>();
  for (const [index, line] of lines.entries()) {
    journal.append(line);
    if (commits.includes(line.step) && lines[index + 1]?.step !== line.step)
      commitsByStep.set(line.step, await save(saver, line.step));
  }
  await journal.close();
  return commitsByStep;
}

/** Returns step and generation of each line, and a `v` for a validation. */
async function readMerged(storage: Storage): Promise<string[]> {
  const text = (await storage.read('metrics.jsonl')).toString();
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const { step: number, generation, val_loss: value } = JSON.parse(line) as Record<string, number>;
    return `${number}g${generation}${value === undefined ? '' : 'v'}`;
  });
}

test('the merged metrics grow while a generation trains', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const journal = await MetricsJournal.open({ storage, generation, resumedFrom: null });
  journal.append(step(1, 1));
  journal.append(validation(1, 1));
  await journal.publish();
  expect(await readMerged(storage)).toEqual(['1g1', '1g1v']);
  await journal.close();
});

test('a commit names a segment that holds the lines since the commit before, by digest', async () => {
  const storage = await newRun(root);
  const commits = await train(storage, null, [step(1, 1), step(2, 1), step(3, 1)], [2, 3]);
  const files = [...commits.values()].flatMap(({ metrics }) => metrics!.segments);
  expect(files.map(({ file }) => file)).toEqual(['g1/metrics/00000001.jsonl', 'g1/metrics/00000003.jsonl']);
  for (const { file, sha256: digest } of files) expect(sha256(await storage.read(file))).toBe(digest);
  const lines = (await storage.read(files[0]!.file)).toString().trim().split('\n');
  expect(lines.map((text) => (JSON.parse(text) as MetricsLine).step)).toEqual([1, 2]);
});

test('steps that are trained again after a loss are in the metrics once', async () => {
  const storage = await newRun(root);
  const firstCommits = await train(storage, null, [step(1, 1), step(2, 1), step(3, 1)], [1]);
  const secondCommits = await train(storage, firstCommits.get(1)!, [step(2, 2), step(3, 2)], [3]);
  await train(storage, secondCommits.get(3)!, [step(4, 3)]);
  expect(await readMerged(storage)).toEqual(['1g1', '2g2', '3g2', '4g3']);
});

test('a resume that goes back further drops the lines of the generations in between', async () => {
  const storage = await newRun(root);
  const firstCommits = await train(storage, null, [step(1, 1), step(2, 1), step(3, 1)], [1, 3]);
  await train(storage, firstCommits.get(3)!, [step(4, 2), step(5, 2)]);
  await train(storage, firstCommits.get(1)!, [step(2, 3)]);
  expect(await readMerged(storage)).toEqual(['1g1', '2g3']);
});

test('a validation that is repeated after a resume is in the metrics once', async () => {
  const storage = await newRun(root);
  const firstCommits = await train(storage, null, [step(1, 1), validation(1, 1)], [1]);
  const secondCommits = await train(storage, firstCommits.get(1)!, [validation(1, 2), step(2, 2)], [2]);
  await train(storage, secondCommits.get(2)!, []);
  expect(await readMerged(storage)).toEqual(['1g1', '1g2v', '2g2']);
});

test('a line that a kill cut short is dropped', async () => {
  const storage = await newRun(root);
  const firstCommits = await train(storage, null, [step(1, 1)], [1]);
  appendFileSync(path.join(storage.folder, 'metrics.jsonl'), '{"step": 2, "lo');
  await train(storage, firstCommits.get(1)!, [step(2, 2)]);
  expect(await readMerged(storage)).toEqual(['1g1', '2g2']);
});

test('an overtaken generation that still writes does not touch the merged file', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const oldJournal = await MetricsJournal.open({ storage, generation, resumedFrom: null });
  oldJournal.append(step(1, 1));
  await train(storage, null, [step(1, 2)]);
  oldJournal.append(step(2, 1));
  await expect(oldJournal.publish()).rejects.toThrow(FencedError);
  await oldJournal.close();
  await expect(MetricsJournal.open({ storage, generation, resumedFrom: null })).rejects.toThrow(FencedError);
  expect(await readMerged(storage)).toEqual(['1g2']);
});

test.each([
  ['deleted', (file: string) => rmSync(file)],
  ['emptied', (file: string) => writeFileSync(file, '')],
  [
    'replaced by an overtaken process',
    (file: string) => writeFileSync(file, `${JSON.stringify(step(2, 9))}\n`),
  ],
])('a merged file that was %s is rebuilt from the segments', async (_, damageFile) => {
  const storage = await newRun(root);
  const firstCommits = await train(storage, null, [step(1, 1), step(2, 1), step(3, 1)], [1, 2]);
  const secondCommits = await train(storage, firstCommits.get(2)!, [step(3, 2), step(4, 2)], [3, 4]);
  damageFile(path.join(storage.folder, 'metrics.jsonl'));
  await train(storage, secondCommits.get(4)!, [step(5, 3)]);
  expect(await readMerged(storage)).toEqual(['1g1', '2g1', '3g2', '4g2', '5g3']);
});

test('a merged file that was replaced while a generation trains is restored by its next commit', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const journal = await MetricsJournal.open({ storage, generation, resumedFrom: null });
  const saver = await newSaver(storage, { generation, journal });
  journal.append(step(1, 1));
  await storage.write('metrics.jsonl', Buffer.from(`${JSON.stringify(step(1, 9))}\n`));
  await save(saver, 1);
  journal.append(step(2, 1));
  await save(saver, 2);
  expect(await readMerged(storage)).toEqual(['1g1', '2g1']);
  await journal.close();
});

test('the journal knows the newest step that an interrupted generation wrote', async () => {
  const storage = await newRun(root);
  const firstCommits = await train(storage, null, [step(1, 1), step(2, 1), step(3, 1)], [1]);
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const journal = await MetricsJournal.open({ storage, generation, resumedFrom: firstCommits.get(1)! });
  expect(journal.reachedBefore).toBe(3);
  await journal.close();
});

test('the journal of a first generation has no earlier step', async () => {
  const storage = await newRun(root);
  const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
  const journal = await MetricsJournal.open({ storage, generation, resumedFrom: null });
  expect(journal.reachedBefore).toBeNull();
  await journal.close();
});

/** Calls `observe` before each read and write, and shows an object store, which has no folder, if asked to. */
function watching(
  storage: Storage,
  observe: (method: 'read' | 'write', key: string, data: unknown) => void,
  folder = storage.folder,
): Storage {
  return new Proxy(storage, {
    get(target, name) {
      if (name === 'folder') return folder;
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== 'function') return value;
      return (key: string, data: unknown) => {
        if (name === 'read' || name === 'write') observe(name, key, data);
        return value.call(target, key, data) as unknown;
      };
    },
  });
}

test('an object store gets a few times the bytes of the merged file, however many commits there are', async () => {
  const storage = await newRun(root);
  let written = 0;
  const store = watching(
    storage,
    (method, key, data) => {
      if (method === 'write' && key === 'metrics.jsonl') written += (data as Buffer).length;
    },
    null,
  );
  const { generation } = await takeGeneration(store, { holder: 'pool.host.1', worldSize: 1 });
  const journal = await MetricsJournal.open({ storage: store, generation, resumedFrom: null });
  for (let number = 1; number <= 100; number += 1) {
    journal.append(step(number, generation));
    journal.append({ step: number, timestamp: 0, 'facts/text': 'x'.repeat(30_000) } as never);
    await journal.confirm(journal.cut());
  }
  await journal.publish();
  const final = (await storage.size('metrics.jsonl'))!;
  expect(await readMerged(storage)).toHaveLength(200);
  // A geometric series: the last write is of all, the one before of at most 1 ÷ 1.25 of it, and so on.
  expect(written).toBeLessThan(6 * final);
});

test('a generation reads the segments of the one before it only, while the merged file is as that one left it', async () => {
  const storage = await newRun(root);
  let newest: CheckpointEntry | null = null;
  for (let number = 1; number <= 12; number += 1) {
    const commits = await train(storage, newest, [step(number, number)], [number]);
    newest = commits.get(number)!;
  }
  const segments: string[] = [];
  const watched = watching(storage, (method, key) => {
    if (method === 'read' && key.includes('/metrics/')) segments.push(key);
  });
  await train(watched, newest, []);
  expect(segments).toEqual(['g12/metrics/00000012.jsonl']);
  expect(await readMerged(storage)).toHaveLength(12);
});

describe('lines about tasks', () => {
  const scores = (number: number, value: number) => ({
    step: number,
    timestamp: 0,
    'facts/valid_json': value,
  });
  const taskLines = async (storage: Storage) =>
    (await storage.read('metrics.jsonl'))
      .toString()
      .trim()
      .split('\n')
      .flatMap((text, index) => {
        const line = JSON.parse(text) as Record<string, number>;
        return 'facts/valid_json' in line ? [[index, line.step, line['facts/valid_json']]] : [];
      });

  test('are added while a generation writes, and no line is lost', async () => {
    const storage = await newRun(root);
    const { generation } = await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 });
    const journal = await MetricsJournal.open({ storage, generation, resumedFrom: null });
    journal.append(step(1, 1));
    await journal.publish();
    await appendTaskMetrics(storage, scores(1, 0.5));
    journal.append(step(2, 1));
    await journal.close();
    expect(await taskLines(storage)).toEqual([[1, 1, 0.5]]);
    expect((await readMerged(storage)).length).toBe(3);
  });

  test('are kept in a new generation up to the step that it resumes from', async () => {
    const storage = await newRun(root);
    const commits = await train(storage, null, [step(1, 1), step(2, 1), step(3, 1)], [2]);
    await appendTaskMetrics(storage, scores(1, 0.5));
    await appendTaskMetrics(storage, scores(3, 0.75));
    await train(storage, commits.get(2)!, [step(3, 2)]);
    expect(await taskLines(storage)).toEqual([[1, 1, 0.5]]);
  });

  test('are placed after step and validation when they are settled, and replace earlier ones', async () => {
    const storage = await newRun(root);
    await train(storage, null, [validation(0, 1), step(1, 1), validation(1, 1), step(2, 1)]);
    await appendTaskMetrics(storage, scores(1, 0.5));
    await settleTaskMetrics(storage, [scores(2, 0.75), scores(0, 0.25), scores(1, 0.5)]);
    expect(await taskLines(storage)).toEqual([
      [1, 0, 0.25],
      [4, 1, 0.5],
      [6, 2, 0.75],
    ]);
  });
});
