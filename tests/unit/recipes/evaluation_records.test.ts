import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { recordScores } from '../../../recipes/llm/evaluate/evaluation_records.js';
import { openStorage } from '../../../shared/storage/index.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { trainerState } from '../checkpoint/fixture.js';

const root = temporaryFolder();

/** Returns the samples of a task after evaluations of the base model and of step 4; without a prompt in their details where it is undefined. */
async function recordSamples(name: string, prompts: { before?: string; after?: string }): Promise<unknown[]> {
  const folder = path.join(root, name);
  const storage = await openStorage(folder, { roots: null });
  const commit = { id: 'commit', trainer: trainerState(4) } as never;
  for (const [subject, prompt, answer] of [
    [null, prompts.before, 'no'],
    [commit, prompts.after, 'yes'],
  ] as const) {
    const details = { ...(prompt === undefined ? {} : { prompt }), answer };
    const task = { name: 'quiz', task: 'quiz', metrics: {}, results: [{ id: '1', scores: {}, details }] };
    await recordScores(storage, subject, [task]);
  }
  const text = await readFile(path.join(folder, 'samples/quiz.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('the samples of a prompt hold its answers side by side, by step', async () => {
  expect(await recordSamples('same', { before: 'true?', after: 'true?' })).toEqual([
    { id: '1', prompt: 'true?', answers: { 0: 'no', 4: 'yes' } },
  ]);
});

test('the samples drop an earlier answer to another prompt with the same id', async () => {
  expect(await recordSamples('changed', { before: 'true?', after: 'false?' })).toEqual([
    { id: '1', prompt: 'false?', answers: { 4: 'yes' } },
  ]);
});

test('a task whose examples have answers and no prompts gets its samples', async () => {
  expect(await recordSamples('bare', {})).toEqual([{ id: '1', answers: { 0: 'no', 4: 'yes' } }]);
});
