/** `temper score` from file to file, in this process. */
import { readFileSync, writeFileSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseGguf, tokenizerFromGguf } from '../../components/models/index.js';
import { Scorer, type ScoreSummary, scoreFile } from '../../recipes/index.js';
import { DataError, UsageError } from '../../shared/errors.js';
import { type GoldenDocument, golden, readGolden } from '../support/goldens.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTinyModel } from '../support/tiny_model.js';

const folder = temporaryFolder();
const hooks = { progress: () => undefined, signal: new AbortController().signal };
const model = path.join(folder, 'model');

beforeAll(async () => {
  const { tokenizer, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', 'smollm.gguf')));
  const vocabulary = Object.keys((tokenizer.model as { vocab: object }).vocab).length + 64;
  await writeTinyModel(model, { vocabulary });
  await writeFile(path.join(model, 'tokenizer.json'), JSON.stringify(tokenizer));
  await writeFile(path.join(model, 'tokenizer_config.json'), JSON.stringify(config));
});

function score(lines: readonly object[], options: Partial<Parameters<typeof scoreFile>[0]> = {}) {
  const input = path.join(folder, 'in.jsonl');
  writeFileSync(input, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const output = path.join(folder, 'out.jsonl');
  return scoreFile({ model, adapter: null, precision: 'fp32', input, output, ...options }, hooks);
}

async function logprobs(...parameters: Parameters<typeof score>): Promise<number[][]> {
  await score(...parameters);
  const lines = readFileSync(path.join(folder, 'out.jsonl'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => (JSON.parse(line) as { logprobs: number[] }).logprobs);
}

function expectClose(actual: readonly number[][], expected: readonly number[][]): void {
  expect(actual.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  const errors = actual.flatMap((row, i) => row.map((value, j) => Math.abs(value - expected[i]![j]!)));
  expect(Math.max(0, ...errors)).toBeLessThan(1e-5);
}

test('scores of a file of ids are transformers’ log-probabilities, with and without an adapter', async () => {
  const base = golden('models', 'gqa_tied_bf16');
  for (const [adapter, documents] of [
    [null, readGolden<GoldenDocument[]>('models', 'gqa_tied_bf16', 'expected.json')],
    [golden('peft', 'lora'), readGolden<GoldenDocument[]>('peft', 'lora', 'expected.json')],
  ] as const) {
    expectClose(
      await logprobs(documents, { model: base, adapter }),
      documents.map(({ float64 }) => float64),
    );
  }
});

test('documents of all lengths are scored in order, with the scores that each has by itself', async () => {
  const lengths = [3, 900, 1, 1100, 700, 2, 0, 2500, 40, 5];
  const documents = lengths.map((length, d) => ({
    input_ids: Array.from({ length }, (_, i) => (7 * i + 13 * d + i * i) % 250),
  }));
  const singleScores: number[][] = [];
  const scorer = await Scorer.open(model, { adapter: null, precision: 'fp32' });
  for (const { input_ids } of documents) singleScores.push([...(await scorer.score([input_ids]))[0]!]);
  await scorer.close();
  expect(singleScores.map(({ length }) => length)).toEqual(lengths.map((length) => Math.max(0, length - 1)));
  expectClose(await logprobs(documents), singleScores);
});

test("a completion's log-probabilities are the end of the whole text's", async () => {
  const [text, pair] = await logprobs([
    { text: 'Question: what is it? Answer: a test' },
    { prompt: 'Question: what is it? Answer:', completion: ' a test' },
  ]);
  expect(pair!.length).toBeGreaterThan(0);
  expect(pair!.length).toBeLessThan(text!.length);
  expectClose([pair!], [text!.slice(-pair!.length)]);
});

test('a bad line leaves an earlier output unchanged, and no other file', async () => {
  const scores = await logprobs([{ input_ids: [1, 2, 3] }]);
  const outputBefore = await readFile(path.join(folder, 'out.jsonl'), 'utf8');
  await expect(score([{ input_ids: [1, 2] }, { input_ids: [1, -4] }])).rejects.toThrow(DataError);
  expect(scores).toHaveLength(1);
  expect(await readFile(path.join(folder, 'out.jsonl'), 'utf8')).toBe(outputBefore);
  expect((await readdir(folder)).sort()).toEqual(['in.jsonl', 'model', 'out.jsonl']);
});

test('the summary of score counts documents and tokens', async () => {
  const summary: ScoreSummary = await score([{ input_ids: [1, 2, 3] }, { input_ids: [4, 5] }]);
  expect(summary).toMatchObject({ documents: 2, tokens: 5 });
});

test('scoring an input that does not exist is a usage error', async () => {
  await expect(score([], { input: path.join(folder, 'none.jsonl') })).rejects.toThrow(UsageError);
});
