import { appendFileSync } from 'node:fs';
import path from 'node:path';
import {
  appendTaskMetrics,
  lastJournaledStep,
  MetricsJournal,
  type MetricsLine,
  settleTaskMetrics,
} from '../../../components/checkpoint/index.js';
import type { Storage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { newRun } from './fixture.js';

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
    mfu: null,
    num_tokens_per_step: 8,
    num_label_tokens: 4,
    timestamp: 0,
    generation,
  };
}

function validation(number: number, generation: number): MetricsLine {
  return { step: number, val_loss: 2, timestamp: 0, generation };
}

async function write(
  run: Storage,
  generation: number,
  resumedStep: number,
  lines: MetricsLine[],
): Promise<void> {
  const journal = await MetricsJournal.open({ run, generation, resumedStep });
  for (const line of lines) journal.append(line);
  await journal.close();
}

/** Step and generation of each line; a validation with a `v`. */
async function merged(run: Storage): Promise<string[]> {
  const text = (await run.read('metrics.jsonl')).toString();
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const { step: number, generation, val_loss: value } = JSON.parse(line) as Record<string, number>;
    return `${number}g${generation}${value === undefined ? '' : 'v'}`;
  });
}

test('the merged file is current after every flush', async () => {
  const run = await newRun(root);
  const journal = await MetricsJournal.open({ run, generation: 1, resumedStep: 0 });
  journal.append(validation(0, 1));
  journal.append(step(1, 1));
  await journal.flush();
  expect(await merged(run)).toEqual(['0g1v', '1g1']);
  journal.append(step(2, 1));
  await journal.close();
  expect(await merged(run)).toEqual(['0g1v', '1g1', '2g1']);
});

test("steps after the resumed commit are the newer generation's", async () => {
  const run = await newRun(root);
  await write(run, 1, 0, [step(1, 1), step(2, 1), validation(2, 1), step(3, 1), step(4, 1)]);
  await write(run, 2, 2, [step(3, 2)]);
  expect(await merged(run)).toEqual(['1g1', '2g1', '2g1v', '3g2']);
});

test('each step stands once, in order, after any number of interruptions', async () => {
  const run = await newRun(root);
  let resumed = 0;
  for (let generation = 1; generation <= 12; generation += 1) {
    const reached = resumed + 1 + ((generation * 5) % 4);
    const lines = Array.from({ length: reached - resumed }, (_, i) => step(resumed + 1 + i, generation));
    await write(run, generation, resumed, lines);
    const steps = (await merged(run)).map((line) => Number(line.split('g')[0]));
    expect(steps).toEqual(Array.from({ length: reached }, (_, i) => i + 1));
    resumed = Math.max(resumed, reached - (generation % 3));
  }
});

test("a generation that went back further than the one before it drops that one's steps too", async () => {
  const run = await newRun(root);
  await write(run, 1, 0, [step(1, 1), step(2, 1), step(3, 1)]);
  await write(run, 2, 3, [step(4, 2), step(5, 2)]);
  await write(run, 3, 1, [step(2, 3)]);
  expect(await merged(run)).toEqual(['1g1', '2g3']);
});

test('a validation made again after the resume stands once', async () => {
  const run = await newRun(root);
  await write(run, 1, 0, [step(1, 1), validation(1, 1)]);
  await write(run, 2, 1, [validation(1, 2), step(2, 2)]);
  await write(run, 3, 2, []);
  expect(await merged(run)).toEqual(['1g1', '1g2v', '2g2']);
});

test('a line torn by a kill is dropped', async () => {
  const run = await newRun(root);
  await write(run, 1, 0, [step(1, 1)]);
  appendFileSync(path.join(run.folder, 'g1/metrics.jsonl'), '{"step": 2, "lo');
  await write(run, 2, 1, [step(2, 2)]);
  expect(await merged(run)).toEqual(['1g1', '2g2']);
});

test('an overtaken generation that still writes does not touch the merged file', async () => {
  const run = await newRun(root);
  const old = await MetricsJournal.open({ run, generation: 1, resumedStep: 0 });
  old.append(step(1, 1));
  await old.flush();
  await write(run, 2, 0, [step(1, 2)]);
  old.append(step(2, 1));
  await old.close();
  expect(await merged(run)).toEqual(['1g2']);
});

test('the newest step that an interrupted generation wrote tells how many steps a resume lost', async () => {
  const run = await newRun(root);
  await write(run, 1, 0, [step(1, 1), step(2, 1), step(3, 1)]);
  await write(run, 2, 1, [step(2, 2)]);
  expect(await lastJournaledStep(run, 2)).toBe(3);
  expect(await lastJournaledStep(run, 3)).toBe(2);
});

test('without an earlier generation no step was lost', async () => {
  expect(await lastJournaledStep(await newRun(root), 1)).toBeNull();
});

describe('lines about tasks', () => {
  const scores = (number: number, value: number) => ({
    step: number,
    timestamp: 0,
    'facts/valid_json': value,
  });
  const taskLines = async (run: Storage) =>
    (await run.read('metrics.jsonl'))
      .toString()
      .trim()
      .split('\n')
      .flatMap((text, index) => {
        const line = JSON.parse(text) as Record<string, number>;
        return 'facts/valid_json' in line ? [[index, line.step, line['facts/valid_json']]] : [];
      });

  test('are added while a generation writes, and both survive', async () => {
    const run = await newRun(root);
    const journal = await MetricsJournal.open({ run, generation: 1, resumedStep: 0 });
    journal.append(step(1, 1));
    await journal.flush();
    await appendTaskMetrics(run, scores(1, 0.5));
    journal.append(step(2, 1));
    await journal.close();
    expect(await taskLines(run)).toEqual([[1, 1, 0.5]]);
    expect((await merged(run)).length).toBe(3);
  });

  test('outlive a new generation up to the step that it goes on from', async () => {
    const run = await newRun(root);
    await write(run, 1, 0, [step(1, 1), step(2, 1), step(3, 1)]);
    await appendTaskMetrics(run, scores(1, 0.5));
    await appendTaskMetrics(run, scores(3, 0.75));
    await write(run, 2, 2, [step(3, 2)]);
    expect(await taskLines(run)).toEqual([[1, 1, 0.5]]);
  });

  test('are settled behind step and validation, in the place of those that were there', async () => {
    const run = await newRun(root);
    await write(run, 1, 0, [validation(0, 1), step(1, 1), validation(1, 1), step(2, 1)]);
    await appendTaskMetrics(run, scores(1, 0.5));
    await settleTaskMetrics(run, [scores(2, 0.75), scores(0, 0.25), scores(1, 0.5)]);
    expect(await taskLines(run)).toEqual([
      [1, 0, 0.25],
      [4, 1, 0.5],
      [6, 2, 0.75],
    ]);
  });
});
