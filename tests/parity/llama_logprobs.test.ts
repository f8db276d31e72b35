/** Log-probabilities of the native engine against transformers', on the tiny models and with their adapters. */
import { type GoldenDocument, golden, goldenModels, readGolden } from '../support/goldens.js';
import { distance, rms, scoreDocuments } from './score_documents.js';

describe.each(goldenModels)('%s', (name) => {
  const documents = readGolden<GoldenDocument[]>('models', name, 'expected.json');
  const exact = documents.map(({ float64 }) => float64);

  test('float32 scores are transformers’ to 1e-5', async () => {
    expect(distance(await scoreDocuments(golden('models', name), documents, 'f32'), exact)).toBeLessThan(
      1e-5,
    );
  });

  test('bfloat16 scores err at most twice as much as torch’s autocast', async () => {
    const torch = rms(
      documents.map(({ bfloat16 }) => bfloat16),
      exact,
    );
    expect(rms(await scoreDocuments(golden('models', name), documents, 'bf16'), exact)).toBeLessThan(
      2 * torch,
    );
  });
});

describe.each(['lora', 'rslora'])('the peft adapter %s', (name) => {
  const documents = readGolden<GoldenDocument[]>('peft', name, 'expected.json');

  test('scores as in peft to 1e-5', async () => {
    const scores = await scoreDocuments(
      golden('models', 'gqa_tied_bf16'),
      documents,
      'f32',
      golden('peft', name),
    );
    const exact = documents.map(({ float64 }) => float64);
    expect(distance(scores, exact)).toBeLessThan(1e-5);
  });

  test('changes the scores of the base far more than that tolerance', async () => {
    const base = await scoreDocuments(golden('models', 'gqa_tied_bf16'), documents, 'f32');
    const exact = documents.map(({ float64 }) => float64);
    expect(distance(base, exact)).toBeGreaterThan(0.1);
  });
});
