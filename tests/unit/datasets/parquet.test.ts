import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { dataSchema, type SingleDataset } from '../../../components/datasets/llm/index.js';
import { chunksOf, planSource } from '../../../components/datasets/llm/plan_chunks.js';
import { renderDocument } from '../../../components/datasets/llm/preview.js';
import { tokeniseChunk } from '../../../components/datasets/llm/tokenise.js';
import { byteTokenizer } from './support/byte_tokenizer.js';

const golden = (name: string): string => path.resolve('tests/unit/datasets/goldens', name);
const tokenizer = byteTokenizer({ chatTemplate: false });

async function documents(train: Record<string, unknown>): Promise<string[]> {
  const dataset = dataSchema.parse({ train }).train as SingleDataset;
  const shown: string[] = [];
  for await (const chunk of chunksOf(await planSource(dataset, 1))) {
    const tokenised = await tokeniseChunk(chunk, dataset, {
      tokenizer,
      vocabularySize: 259,
      packedSequenceSize: 256,
    });
    shown.push(...tokenised.documents.map((each) => renderDocument(each, tokenizer, false)));
  }
  return shown;
}

const columns = { question: 'question', answer: 'answers.text.0' };

test.each(['snappy', 'zstd'])("rows of every row group, pyarrow's %s files", async (codec) => {
  expect(
    await documents({ dataset_type: 'column_mapped', path: golden(`rows_${codec}.parquet`), columns }),
  ).toEqual(Array.from({ length: 7 }, (_, i) => `<s>What is ${i} + ${i}?⟦ ${2 * i}<|im_end|>⟧`));
});

test('64-bit integers are token ids', async () => {
  const shown = await documents({
    dataset_type: 'pretokenized',
    path: golden('rows_snappy.parquet'),
    rows: [4, 5],
  });
  expect(shown).toEqual([`⟦${['04', '05', '06'].map((code) => `\\x${code}`).join('')}⟧`]);
});

test('rows are selected across row groups', async () => {
  const shown = await documents({
    dataset_type: 'column_mapped',
    path: golden('rows_zstd.parquet'),
    columns,
    rows: [2, 4],
  });
  expect(shown.map((text) => text.slice(3, 12))).toEqual(['What is 2', 'What is 3']);
});

test('a file that is cut short is named', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'temper-parquet-'));
  try {
    const file = path.join(folder, 'cut.parquet');
    await writeFile(file, (await readFile(golden('rows_snappy.parquet'))).subarray(0, 900));
    await expect(documents({ dataset_type: 'column_mapped', path: file, columns })).rejects.toThrow(
      `${file}: cannot be read as Parquet`,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});
