import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  type Dataset,
  dataSchema,
  PackReader,
  type PrepareOptions,
  prepareData,
  validationSets,
} from '../../../components/datasets/llm/index.js';
import { DataError } from '../../../shared/errors.js';
import './support/repeated_dataset.js';

const tokenizerModule = path.resolve('dist/tests/unit/datasets/support/byte_tokenizer.js');
const byteTokenizer = {
  module: pathToFileURL(tokenizerModule).href,
  factory: 'byteTokenizer',
  argument: {},
  digest: 'a'.repeat(64),
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'temper-data-'));
});
afterEach(() => rm(folder, { recursive: true }));

const write = async (name: string, text: string | Uint8Array): Promise<string> => {
  const file = path.join(folder, name);
  await writeFile(file, text);
  return file;
};
const jsonl = (rows: unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

function prepare(train: Record<string, unknown>, options: Partial<PrepareOptions> = {}) {
  const { train: dataset } = dataSchema.parse({ train });
  return prepareData({
    dataset,
    packedSequenceSize: 32,
    tokenizer: byteTokenizer,
    vocabularySize: 259,
    cache: path.join(folder, 'cache'),
    ...options,
  });
}

test('text without a tokenizer is refused, and the error names the folder without one', async () => {
  const attempt = prepare(
    { dataset_type: 'text', path: await write('a.txt', 'a') },
    { tokenizer: null, tokenizerFolder: '/models/bare' },
  );
  await expect(attempt).rejects.toThrow(
    /'text' data needs a tokenizer, and \/models\/bare has none: put .*tokenizer\.json/,
  );
});

describe('pretokenized', () => {
  test('keeps ids and labels as they are', async () => {
    const path = await write(
      'a.jsonl',
      jsonl([
        { input_ids: [1, 2, 3], labels: [-100, 2, 3] },
        { input_ids: [4, 5], other: 1 },
      ]),
    );
    const { folder: packs, index } = await prepare(
      { dataset_type: 'pretokenized', path },
      { tokenizer: null },
    );
    const reader = await PackReader.open(packs);
    const [pack] = await reader.read([0]);
    expect([...pack!.ids.subarray(0, 6)]).toEqual([1, 2, 3, 4, 5, 0]);
    expect([...pack!.labels.subarray(0, 6)]).toEqual([-100, 2, 3, 4, 5, -100]);
    expect(index).toMatchObject({ packs: 1, supervised: [3], tokens: [5] });
    await reader.close();
  });
});

describe('damaged packs', () => {
  const preparePacks = async () => {
    const { folder: packs, index } = await prepare({ dataset_type: 'mock', documents: 200 });
    return { packs, index, shard: path.join(packs, index.shards[0]!.file) };
  };
  const readPack = async (packs: string, number: number) => {
    const reader = await PackReader.open(packs);
    try {
      return await reader.read([0, number]);
    } finally {
      await reader.close();
    }
  };

  test('with a single flipped bit anywhere in a record are named by pack and file', async () => {
    const { packs, index, shard: packFile } = await preparePacks();
    const sound = await readFile(packFile);
    const record = index.shards[0]!.bytes / index.shards[0]!.packs;
    for (let byte = 0; byte < record; byte += 1) {
      const bytes = Buffer.from(sound);
      bytes[3 * record + byte]! ^= 1 << (byte % 8);
      await writeFile(packFile, bytes);
      await expect(readPack(packs, 3)).rejects.toThrow(`pack 3 in ${packFile} is damaged`);
    }
    await writeFile(packFile, sound);
    expect(await readPack(packs, 3)).toHaveLength(2);
  });

  test('with a missing pack file name the file', async () => {
    const { packs, shard: packFile } = await preparePacks();
    await rm(packFile);
    const failure = await readPack(packs, 1).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(DataError);
    expect((failure as Error).message).toContain(`${packFile} is missing`);
  });

  test.each([
    ['packs that do not exist', { packs: 5000 }, 'shards'],
    ['a pack that is in no file', { firstPack: 7 }, 'shards'],
  ])('with an index that names %s are refused when they are opened', async (_, change, key) => {
    const { packs, index } = await preparePacks();
    const damagedIndex = { ...index, shards: [{ ...index.shards[0]!, ...change }] };
    await writeFile(path.join(packs, 'index.json'), JSON.stringify(damagedIndex));
    await expect(PackReader.open(packs)).rejects.toThrow(`${packs}/index.json: ${key}`);
  });

  test('with an index that counts other tokens are named by pack', async () => {
    const { packs, index } = await preparePacks();
    const supervised = index.supervised.with(3, index.supervised[3]! - 1);
    await writeFile(path.join(packs, 'index.json'), JSON.stringify({ ...index, supervised }));
    await expect(readPack(packs, 3)).rejects.toThrow('pack 3 in');
  });

  test('with an id outside the vocabulary are named by pack', async () => {
    const { packs, index } = await preparePacks();
    await writeFile(path.join(packs, 'index.json'), JSON.stringify({ ...index, vocabularySize: 2 }));
    await expect(readPack(packs, 1)).rejects.toThrow(/pack [01] in .* has the id \d+, .* vocabulary has 2/);
  });
});

describe('preparing', () => {
  const mock = { dataset_type: 'mock', documents: 4500, lengths: { min: 2, max: 40 } };
  const bytes = async (packFolder: string) => {
    const names = (await readdir(packFolder)).filter((name) => name.endsWith('.packs')).sort();
    return Buffer.concat(await Promise.all(names.map((name) => readFile(path.join(packFolder, name)))));
  };

  test('gives the same pack files with any number of threads', async () => {
    const singleThreaded = await prepare(mock, { cache: path.join(folder, 'one'), threads: 1 });
    const multiThreaded = await prepare(mock, { cache: path.join(folder, 'two'), threads: 2 });
    expect((await bytes(multiThreaded.folder)).equals(await bytes(singleThreaded.folder))).toBe(true);
    expect(multiThreaded.digest).toBe(singleThreaded.digest);
  });

  test('a second time reuses the packs', async () => {
    const firstPacks = await prepare(mock);
    const secondPacks = await prepare(mock);
    expect([firstPacks.reused, secondPacks.reused, secondPacks.index]).toEqual([
      false,
      true,
      firstPacks.index,
    ]);
  });

  test('replaces a pack file that was cut short', async () => {
    const firstPacks = await prepare(mock);
    const expected = await bytes(firstPacks.folder);
    await writeFile(path.join(firstPacks.folder, firstPacks.index.shards[0]!.file), 'x');
    const secondPacks = await prepare(mock);
    expect((await bytes(secondPacks.folder)).equals(expected)).toBe(true);
  });

  test('reports truncated, split and dropped documents', async () => {
    const rows = [
      { input_ids: Array.from({ length: 70 }, () => 1) },
      { input_ids: [1, 2], labels: [1, -100] },
      { input_ids: [5, 6] },
    ];
    const path = await write('a.jsonl', jsonl(rows));
    const report = async (long_documents: string) =>
      (await prepare({ dataset_type: 'pretokenized', path, long_documents })).index.report;
    expect(await report('truncate')).toMatchObject({
      documents: 3,
      truncated: 1,
      split: 0,
      dropped: 1,
      tokens: 34,
    });
    expect(await report('split')).toMatchObject({
      documents: 3,
      truncated: 0,
      split: 1,
      dropped: 1,
      tokens: 72,
    });
  });

  test('a dataset without anything to train on is refused', async () => {
    const path = await write('a.jsonl', jsonl([{ input_ids: [1, 2], labels: [-100, -100] }]));
    await expect(prepare({ dataset_type: 'pretokenized', path })).rejects.toThrow(
      'all 1 documents were dropped',
    );
  });

  test('an empty file is refused', async () => {
    const file = await write('empty.jsonl', '');
    await expect(prepare({ dataset_type: 'pretokenized', path: file })).rejects.toThrow(
      `${file}: no rows to train on`,
    );
  });

  test('gives a digest of content and options, not of paths', async () => {
    const digest = async (name: string, text: string, keys = {}) =>
      (await prepare({ dataset_type: 'pretokenized', path: await write(name, text), ...keys })).digest;
    const baseDigest = await digest('a.jsonl', jsonl([{ input_ids: [1, 2] }]));
    expect(await digest('b.jsonl', jsonl([{ input_ids: [1, 2] }]))).toBe(baseDigest);
    expect(await digest('a.jsonl', jsonl([{ input_ids: [1, 3] }]))).not.toBe(baseDigest);
    expect(await digest('b.jsonl', jsonl([{ input_ids: [1, 2] }]), { long_documents: 'split' })).not.toBe(
      baseDigest,
    );
  });

  test('stops when it is aborted, and continues later', async () => {
    const abort = new AbortController();
    const largeMock = { ...mock, documents: 9000 };
    const attempt = prepare(largeMock, {
      signal: abort.signal,
      onProgress: ({ fraction }) => fraction > 0 && abort.abort(new Error('enough')),
    });
    await expect(attempt).rejects.toThrow('enough');
    const fractions: number[] = [];
    await prepare(largeMock, { onProgress: ({ fraction }) => fractions.push(fraction) });
    expect(fractions[0]).toBeGreaterThan(0);
    expect(fractions.at(-1)).toBe(1);
  });

  test('mixes datasets by weight', async () => {
    const file = async (name: string, id: number, count: number) =>
      write(name, jsonl(Array.from({ length: count }, () => ({ input_ids: [id, id] }))));
    const part = async (name: string, id: number, weight: number) => ({
      weight,
      dataset: { dataset_type: 'pretokenized', path: await file(name, id, 300) },
    });
    const { index } = await prepare({
      dataset_type: 'mixture',
      datasets: [await part('a.jsonl', 1, 3), await part('b.jsonl', 2, 1)],
    });
    expect(index.report.tokens).toBe(800);
  });

  test('keeps full packs full', async () => {
    const { index } = await prepare({ dataset_type: 'mock_packed', packs: 5 });
    expect(index).toMatchObject({ packs: 5, tokens: [32, 32, 32, 32, 32], supervised: [31, 31, 31, 31, 31] });
  });
});

test('validation sets are returned by name', () => {
  const dataset: Dataset = { dataset_type: 'mock' };
  expect(validationSets({ validation: dataset })).toEqual({ validation: dataset });
  expect(Object.keys(validationSets({ validation: { a: dataset, b: dataset } }))).toEqual(['a', 'b']);
  expect(validationSets({ validation: null })).toEqual({});
});
