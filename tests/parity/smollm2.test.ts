/** SmolLM2-135M-Instruct, from the GGUF file that set-up fetches, against transformers' reading of the same file. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type ResolvedModel, resolveModel } from '../../components/models/index.js';
import { ModelTokenizer } from '../../components/tokenizer/index.js';
import { type GoldenDocument, readGolden } from '../support/goldens.js';
import { describeWithFiles, smollm2 } from '../support/task_data.js';
import { distance, rms, scoreDocuments } from './score_documents.js';

interface Text extends GoldenDocument {
  text: string;
}

describeWithFiles(smollm2)(`SmolLM2-135M-Instruct (${smollm2})`, () => {
  let cache: string;
  let exact: ResolvedModel;
  let tokenizer: ModelTokenizer;
  const documents = readGolden<Text[]>('smollm2', 'expected.json');
  const expected = documents.map(({ float64 }) => float64);

  beforeAll(async () => {
    cache = await mkdtemp(path.join(tmpdir(), 'temper-smollm2-'));
    exact = await resolveModel(smollm2, { cache, ggufDType: 'f32' });
    tokenizer = await ModelTokenizer.load(exact.folder);
  }, 120_000);
  afterAll(() => rm(cache, { recursive: true, force: true }));

  test('float32 scores are transformers’ to 1e-4', async () => {
    expect(distance(await scoreDocuments(exact.folder, documents, 'f32'), expected)).toBeLessThan(1e-4);
  }, 120_000);

  test('bfloat16 scores err at most twice as much as torch’s autocast', async () => {
    const torch = rms(
      documents.map(({ bfloat16 }) => bfloat16),
      expected,
    );
    expect(rms(await scoreDocuments(exact.folder, documents, 'bf16'), expected)).toBeLessThan(2 * torch);
  }, 120_000);

  test('weights kept as bfloat16 have nearly the same mean log-probability', async () => {
    const half = await resolveModel(smollm2, { cache });
    const scores = await scoreDocuments(half.folder, documents, 'f32');
    const mean = (rows: number[][]) => rows.flat().reduce((sum, x) => sum + x, 0) / rows.flat().length;
    expect(Math.abs(mean(scores) - mean(expected))).toBeLessThan(0.01);
  }, 120_000);

  test('texts are tokenized as by its original tokenizer', () => {
    const cases = readGolden<{ text: string; ids: number[] }[]>('smollm2', 'tokens.json');
    const tokens = cases.map(({ text }) => ({
      text,
      ids: tokenizer.encode(text, { addSpecial: false }).ids,
    }));
    expect(tokens).toEqual(cases.map(({ text, ids }) => ({ text, ids })));
  });

  test('the scored documents are tokenized into the tokens that were scored', () => {
    expect(documents.map(({ text }) => tokenizer.encode(text, { addSpecial: true }).ids)).toEqual(
      documents.map(({ input_ids }) => input_ids),
    );
  });
});
