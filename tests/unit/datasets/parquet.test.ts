import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { parquetMetadata } from 'hyparquet';
import { dataSchema, type SingleDataset } from '../../../components/datasets/llm/index.js';
import { renderDocument } from '../../../components/datasets/llm/preview.js';
import { footerProblem } from '../../../components/datasets/llm/sources/parquet_footer.js';
import { planChunks, planSource } from '../../../components/datasets/llm/tokenize/plan_chunks.js';
import { tokenizeChunk } from '../../../components/datasets/llm/tokenize/tokenize.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { byteTokenizer } from './support/byte_tokenizer.js';

const golden = (name: string): string => path.resolve('tests/unit/datasets/goldens', name);
const tokenizer = byteTokenizer({ chatTemplate: false });

async function renderDocuments(train: Record<string, unknown>): Promise<string[]> {
  const dataset = dataSchema.parse({ train }).train as SingleDataset;
  const texts: string[] = [];
  for await (const chunk of planChunks(await planSource(dataset, 1))) {
    const { documents } = await tokenizeChunk(chunk, dataset, {
      tokenizer,
      vocabularySize: 259,
      packedSequenceSize: 256,
    });
    texts.push(...documents.map((each) => renderDocument(each, tokenizer, false)));
  }
  return texts;
}

const columns = { question: 'question', answer: 'answers.text.0' };

test.each(['snappy', 'zstd'])("rows of every row group are read from pyarrow's %s files", async (codec) => {
  expect(
    await renderDocuments({ dataset_type: 'column_mapped', path: golden(`rows_${codec}.parquet`), columns }),
  ).toEqual(Array.from({ length: 7 }, (_, i) => `<s>What is ${i} + ${i}?⟦ ${2 * i}<|im_end|>⟧`));
});

test('64-bit integers of a Parquet file are read as token ids', async () => {
  const texts = await renderDocuments({
    dataset_type: 'pretokenized',
    path: golden('rows_snappy.parquet'),
    rows: [4, 5],
  });
  expect(texts).toEqual([`⟦${['04', '05', '06'].map((code) => `\\x${code}`).join('')}⟧`]);
});

test('rows of a Parquet file are selected across row groups', async () => {
  const texts = await renderDocuments({
    dataset_type: 'column_mapped',
    path: golden('rows_zstd.parquet'),
    columns,
    rows: [2, 4],
  });
  expect(texts.map((text) => text.slice(3, 12))).toEqual(['What is 2', 'What is 3']);
});

test('a Parquet file that is cut short is named', async () => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'temper-parquet-'));
  try {
    const file = path.join(folder, 'cut.parquet');
    await writeFile(file, (await readFile(golden('rows_snappy.parquet'))).subarray(0, 900));
    await expect(renderDocuments({ dataset_type: 'column_mapped', path: file, columns })).rejects.toThrow(
      `${file}: cannot be read as Parquet`,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
});

describe('a damaged Parquet file', () => {
  const folder = temporaryFolder();
  /** Reads a file's rows in a process of its own, so that an unhandled rejection ends only that. */
  const readBytes = async (bytes: Buffer) => {
    const file = path.join(folder, 'damaged.parquet');
    await writeFile(file, bytes);
    const index = pathToFileURL(path.resolve('dist/components/datasets/llm/index.js')).href;
    const script = `
      import { readFileRows } from '${index}';
      try {
        for await (const row of readFileRows('${file}', 'line')) void row;
      } catch (error) {
        console.log(error.name + ': ' + error.message);
      }`;
    const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    return run.then(
      ({ stdout }) => stdout,
      ({ stderr }: { stderr: string }) => `exited with ${stderr}`,
    );
  };
  const readGolden = () => readFile(golden('rows_zstd.parquet'));

  test('with several broken columns is one typed error, and no process exits', async () => {
    const bytes = await readGolden();
    bytes.fill(0xff, 4, 600);
    const schema = bytes.lastIndexOf('schema');
    const column = bytes.indexOf('input_ids', bytes.indexOf('input_ids', schema) + 1);
    bytes.write('input_idz', column);
    expect(await readBytes(bytes)).toMatch(
      /^DataError: .*damaged\.parquet: cannot be read as Parquet: row group 1: its columns are not those of the schema/,
    );
  });

  test('with broken pages is an error that names file and rows', async () => {
    const bytes = await readGolden();
    bytes.fill(0xff, 4, 600);
    expect(await readBytes(bytes)).toMatch(
      /^DataError: .*damaged\.parquet: rows 1 to 3: cannot be read as Parquet/,
    );
  });

  test.each([
    [36_000_000_000_000_000n, 'row group 1: 36000000000000000 rows'],
    [-5n, 'row group 1: -5 rows'],
    [1000n, 'row group 1: column question: 3 values in 1000 rows'],
  ])('is refused before anything is read if it declares %d rows', async (rows, message) => {
    const metadata = parquetMetadata(new Uint8Array(await readGolden()).buffer);
    metadata.row_groups[0]!.num_rows = rows;
    expect(footerProblem(metadata, (await readGolden()).length)).toContain(message);
  });

  test('is refused if its columns are beyond its end', async () => {
    const bytes = await readGolden();
    const metadata = parquetMetadata(new Uint8Array(bytes).buffer);
    expect(footerProblem(metadata, bytes.length)).toBeNull();
    expect(footerProblem(metadata, 300)).toMatch(/column .*: its data is at bytes \d+ to \d+ of 300/);
  });
});
