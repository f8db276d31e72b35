import { previewDataset } from '../../../components/datasets/llm/index.js';
import { renderDocument } from '../../../components/datasets/llm/preview.js';
import { byteTokenizer } from './support/byte_tokenizer.js';

const tokenizer = byteTokenizer();
const ids = Int32Array.from(Buffer.from('ask answer'));
const labels = ids.map((id, index) => (index < 4 ? -100 : id));

test('a preview colors the trained text and dims the rest', () => {
  expect(renderDocument({ ids, labels }, tokenizer, true)).toBe(
    '\u001b[2mask \u001b[0m\u001b[32manswer\u001b[0m',
  );
});

test('a preview without colors puts the trained text in brackets', () => {
  expect(renderDocument({ ids, labels }, tokenizer, false)).toBe('ask ⟦answer⟧');
});

test('a preview escapes control characters of the data', () => {
  const hostile = Int32Array.from(Buffer.from('a\u001b[2Jb\nc'));
  expect(renderDocument({ ids: hostile, labels: hostile }, tokenizer, false)).toBe('⟦a\\x1b[2Jb\nc⟧');
});

test('a preview without a tokenizer shows token ids', () => {
  expect(renderDocument({ ids: ids.subarray(0, 2), labels: ids.subarray(0, 2) }, null, false)).toBe(
    '⟦97 115 ⟧',
  );
});

test('a preview takes the first documents of each dataset of a mixture', async () => {
  const part = (seed: number) => ({
    weight: 1,
    dataset: {
      dataset_type: 'mock',
      documents: 9,
      lengths: { distribution: 'uniform', min: 4, max: 4 },
      seed,
      vocabulary_size: 100,
    },
  });
  const previews = await previewDataset({
    dataset: { dataset_type: 'mixture', datasets: [part(1), part(2)], stop: 'first_exhausted' },
    tokenizer: null,
    vocabularySize: null,
    packedSequenceSize: 16,
    count: 2,
    color: false,
  });
  expect(previews.map(({ source, tokens, supervised }) => [source, tokens, supervised])).toEqual([
    [0, 4, 4],
    [0, 4, 4],
    [1, 4, 4],
    [1, 4, 4],
  ]);
});
