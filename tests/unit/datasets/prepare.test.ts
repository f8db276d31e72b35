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
import { byteTokenizer } from './support/byte_tokenizer.js';

const support = path.resolve('dist/tests/unit/datasets/support/byte_tokenizer.js');
const tokenizer = {
  module: pathToFileURL(support).href,
  factory: 'byteTokenizer',
  argument: {},
  digest: 'a'.repeat(64),
};
const plain = { ...tokenizer, argument: { chatTemplate: false }, digest: 'b'.repeat(64) };

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
    tokenizer: plain,
    vocabularySize: 259,
    cache: path.join(folder, 'cache'),
    ...options,
  });
}

/** Every document as text, what is trained on in [brackets]. */
async function documents(
  train: Record<string, unknown>,
  options: Partial<PrepareOptions> = {},
): Promise<string[]> {
  const { folder: packs } = await prepare(train, { packedSequenceSize: 256, ...options });
  const reader = await PackReader.open(packs);
  const all = await reader.read(Array.from({ length: reader.packs }, (_, index) => index));
  await reader.close();
  const shown = byteTokenizer();
  return all.flatMap(({ ids, labels, starts, tokens }) =>
    starts.map((start, index) => {
      let text = '';
      const end = starts[index + 1] ?? tokens;
      for (let place = start; place < end; ) {
        let stop = place + 1;
        while (stop < end && (labels[stop] === -100) === (labels[place] === -100)) stop += 1;
        const run = shown.decode([...ids.subarray(place, stop)]);
        text += labels[place] === -100 ? run : `[${run}]`;
        place = stop;
      }
      return text;
    }),
  );
}

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
    await reader.verify();
    await reader.close();
  });

  test.each([
    [{ input_ids: [1, 300] }, "line 2: 'input_ids'[1] is 300, and the model's vocabulary has 259 entries"],
    [{ input_ids: [1, 2], labels: [1] }, "'labels' has 1 entries where 'input_ids' has 2"],
    [{ input_ids: [1, 2.5] }, "'input_ids'[1] is 2.5"],
    [{ ids: [1] }, "lacks the column 'input_ids'"],
    [{ input_ids: [] }, "'input_ids' is empty"],
    [[1, 2], 'expected an object'],
  ])('refuses %j by file, line and column', async (row, message) => {
    const path = await write('bad.jsonl', jsonl([{ input_ids: [1, 2] }, row]));
    const failure = prepare({ dataset_type: 'pretokenized', path });
    await expect(failure).rejects.toMatchObject({ code: 'DataError' });
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toThrow(`${path}: line 2`);
  });
});

describe('column_mapped', () => {
  const columns = { question: 'q', answer: 'a' };
  const rows = [
    { q: 'Why?', a: 'So.' },
    { q: 'Who?', a: { name: 'Ann', age: 3 } },
  ];

  test('trains on the answer and the end of text alone', async () => {
    const path = await write('a.jsonl', jsonl(rows));
    expect(await documents({ dataset_type: 'column_mapped', path, columns })).toEqual([
      '<s>Why?[ So.<|im_end|>]',
      '<s>Who?[ {"name":"Ann","age":3}<|im_end|>]',
    ]);
  });

  test('uses the chat template where the model has one', async () => {
    const path = await write('a.jsonl', jsonl(rows.slice(0, 1)));
    const options = { dataset_type: 'column_mapped', path, columns, system_prompt: 'Be brief.' };
    expect(await documents(options, { tokenizer })).toEqual([
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n[So.<|im_end|>]\n',
    ]);
  });

  test('trains on everything with `loss: full`', async () => {
    const path = await write('a.jsonl', jsonl(rows.slice(0, 1)));
    expect(await documents({ dataset_type: 'column_mapped', path, columns, loss: 'full' })).toEqual([
      '[<s>Why? So.<|im_end|>]',
    ]);
  });

  test('fills templates from columns, nested ones too', async () => {
    const path = await write('a.jsonl', jsonl([{ q: 'Why?', a: { text: ['So.'] }, t: 5 }]));
    const dataset = {
      dataset_type: 'column_mapped',
      path,
      columns: { question: 'q', answer: 'a.text.0', topic: 't' },
      prompt_template: 'Q{topic}: {question} {other}\n',
      answer_template: 'A: {answer}',
    };
    expect(() => dataSchema.parse({ train: dataset })).toThrow('{other} is none of the mapped columns');
    dataset.prompt_template = 'Q{topic}: {question}\n';
    expect(await documents(dataset)).toEqual(['<s>Q5: Why?\n[A: So.<|im_end|>]']);
  });

  test.each([
    ['json', '[{"q": "W,h]y?", "a": "\\"S\\\\"},\n {"q":"é", "a":"b"}]'],
    ['csv', 'q,a\r\n"W,h]y?","""S\\"\r\né,b\r\n'],
    ['tsv', 'q\ta\nW,h]y?\t"""S\\"\né\tb\n'],
    ['jsonl', '\uFEFF{"q": "W,h]y?", "a": "\\"S\\\\"}\n\n{"q":"é", "a":"b"}'],
  ])('reads %s', async (extension, text) => {
    const path = await write(`a.${extension}`, text);
    expect(await documents({ dataset_type: 'column_mapped', path, columns })).toEqual([
      '<s>W,h]y?[ "S\\<|im_end|>]',
      '<s>é[ b<|im_end|>]',
    ]);
  });

  test('counts the rows that lack a column and names the first', async () => {
    const bad = [rows[0], { q: 'x' }, { q: 'y' }, { q: 'z', a: null }];
    const path = await write('a.jsonl', jsonl(bad));
    await expect(prepare({ dataset_type: 'column_mapped', path, columns })).rejects.toThrow(
      /a\.jsonl: 3 of the 4 rows from 1 on cannot be used:\n {2}line 2: lacks the column 'a' \(it has q\)/,
    );
    const { index } = await prepare({ dataset_type: 'column_mapped', path, columns, invalid_rows: 'skip' });
    expect(index.report).toMatchObject({ documents: 4, dropped: 3 });
  });

  test.each([
    ['a malformed line', '{"q":"a","a":"b"}\n{"q":', 'a.jsonl: line 2: malformed JSON'],
    ['bytes that are no UTF-8', Buffer.from('7b7d0aff0a', 'hex'), 'a.jsonl: line 2: not valid UTF-8'],
    ['an empty file', '', 'is empty'],
  ])('%s is named', async (_, text, message) => {
    const path = await write('a.jsonl', text);
    await expect(prepare({ dataset_type: 'column_mapped', path, columns })).rejects.toThrow(message);
  });

  test('a missing file is named', async () => {
    const missing = path.join(folder, 'none.jsonl');
    await expect(prepare({ dataset_type: 'column_mapped', path: missing, columns })).rejects.toThrow(
      `${missing}: there is no such file`,
    );
  });

  test('a JSON array that is cut short is named', async () => {
    const path = await write('a.json', '[{"q":"a","a":"b"}, {"q":');
    await expect(prepare({ dataset_type: 'column_mapped', path, columns })).rejects.toThrow(
      'the JSON array does not end',
    );
  });

  test('selects rows by number, and held-out rows never overlap with the rest', async () => {
    const path = await write(
      'a.jsonl',
      jsonl(Array.from({ length: 200 }, (_, index) => ({ q: 'n', a: `${index}` }))),
    );
    const select = (keys: object) => documents({ dataset_type: 'column_mapped', path, columns, ...keys });
    const number = (text: string) => Number(/ (\d+)/.exec(text)![1]);
    expect((await select({ rows: [10, 13] })).map(number)).toEqual([10, 11, 12]);
    expect((await select({ rows: [190, null], limit: 2 })).map(number)).toEqual([190, 191]);
    const part = async (name: string) =>
      (await select({ holdout: { fraction: 0.2, part: name } })).map(number);
    const [heldOut, rest] = [await part('held_out'), await part('rest')];
    expect([...heldOut, ...rest].sort((a, b) => a - b)).toEqual(
      Array.from({ length: 200 }, (_, index) => index),
    );
    // Binomial with p = 0.2: five standard deviations are 28.
    expect(Math.abs(heldOut.length - 40)).toBeLessThan(28);
  });
});

describe('preparing', () => {
  const mock = { dataset_type: 'mock', documents: 5000, lengths: { min: 2, max: 40 } };
  const bytes = async (where: string) => {
    const names = (await readdir(where)).filter((name) => name.endsWith('.packs')).sort();
    return Buffer.concat(await Promise.all(names.map((name) => readFile(path.join(where, name)))));
  };

  test('gives the same shards whatever the number of threads', async () => {
    const one = await prepare(mock, { cache: path.join(folder, 'one'), threads: 1 });
    const two = await prepare(mock, { cache: path.join(folder, 'two'), threads: 2 });
    expect(await bytes(two.folder)).toEqual(await bytes(one.folder));
    expect(two.digest).toBe(one.digest);
  });

  test('again finds what it made', async () => {
    const first = await prepare(mock);
    const again = await prepare(mock);
    expect([first.reused, again.reused, again.index]).toEqual([false, true, first.index]);
  });

  test('replaces a shard that was cut short', async () => {
    const first = await prepare(mock);
    const expected = await bytes(first.folder);
    await writeFile(path.join(first.folder, first.index.shards[0]!.file), 'x');
    const again = await prepare(mock);
    expect(await bytes(again.folder)).toEqual(expected);
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

  test('a dataset of which nothing is trained on is refused', async () => {
    const path = await write('a.jsonl', jsonl([{ input_ids: [1, 2], labels: [-100, -100] }]));
    await expect(prepare({ dataset_type: 'pretokenized', path })).rejects.toThrow(
      'all 1 documents were dropped',
    );
  });

  test('its digest follows content and options, not paths', async () => {
    const digest = async (name: string, text: string, keys = {}) =>
      (await prepare({ dataset_type: 'pretokenized', path: await write(name, text), ...keys })).digest;
    const one = await digest('a.jsonl', jsonl([{ input_ids: [1, 2] }]));
    expect(await digest('b.jsonl', jsonl([{ input_ids: [1, 2] }]))).toBe(one);
    expect(await digest('a.jsonl', jsonl([{ input_ids: [1, 3] }]))).not.toBe(one);
    expect(await digest('b.jsonl', jsonl([{ input_ids: [1, 2] }]), { long_documents: 'split' })).not.toBe(
      one,
    );
  });

  test('stops when it is told to, and goes on later', async () => {
    const abort = new AbortController();
    const many = { ...mock, documents: 100_000 };
    const stopped = prepare(many, {
      signal: abort.signal,
      onProgress: ({ fraction }) => fraction > 0 && abort.abort(new Error('enough')),
    });
    await expect(stopped).rejects.toThrow('enough');
    const fractions: number[] = [];
    await prepare(many, { onProgress: ({ fraction }) => fractions.push(fraction) });
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

  test('packs that are full stay full', async () => {
    const { index } = await prepare({ dataset_type: 'mock_packed', packs: 5 });
    expect(index).toMatchObject({ packs: 5, tokens: [32, 32, 32, 32, 32], supervised: [31, 31, 31, 31, 31] });
  });
});

test('validation sets go by name', () => {
  const one: Dataset = { dataset_type: 'mock' };
  expect(validationSets({ validation: one })).toEqual({ validation: one });
  expect(Object.keys(validationSets({ validation: { a: one, b: one } }))).toEqual(['a', 'b']);
  expect(validationSets({ validation: null })).toEqual({});
});
