import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { dataSchema, type SingleDataset } from '../../../components/datasets/llm/index.js';
import { renderDocument } from '../../../components/datasets/llm/preview.js';
import { planChunks, planSource } from '../../../components/datasets/llm/tokenize/plan_chunks.js';
import { tokenizeChunk } from '../../../components/datasets/llm/tokenize/tokenize.js';
import { encodeCompletion, encodeConversation } from '../../../components/datasets/llm/types/completion.js';
import { cleanHellaswag } from '../../../shared/hellaswag_text.js';
import { byteTokenizer } from './support/byte_tokenizer.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'temper-conversion-'));
});
afterAll(() => rm(folder, { recursive: true }));

const write = async (name: string, text: string | Uint8Array): Promise<string> => {
  const file = path.join(folder, name);
  await writeFile(file, text);
  return file;
};
const jsonl = (rows: unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** Returns every document as text, with the trained parts in ⟦brackets⟧. */
async function renderDocuments(
  train: Record<string, unknown>,
  { chatTemplate = false, size = 256 } = {},
): Promise<string[]> {
  const tokenizer = byteTokenizer({ chatTemplate });
  const dataset = dataSchema.parse({ train }).train as SingleDataset;
  const texts: string[] = [];
  for await (const chunk of planChunks(await planSource(dataset, 1))) {
    const context = { tokenizer, vocabularySize: tokenizer.vocabularySize, packedSequenceSize: size };
    const { documents } = await tokenizeChunk(chunk, dataset, context);
    texts.push(...documents.map((document) => renderDocument(document, tokenizer, false)));
  }
  return texts;
}

describe('pretokenized', () => {
  test.each([
    [{ input_ids: [1, 300] }, "line 2: 'input_ids'[1] is 300, and the model's vocabulary has 259 entries"],
    [{ input_ids: [1, 2], labels: [1] }, "'labels' has 1 entries where 'input_ids' has 2"],
    [{ input_ids: [1, 2.5] }, "'input_ids'[1] is 2.5"],
    [{ ids: [1] }, "lacks the column 'input_ids'"],
    [{ input_ids: [] }, "'input_ids' is empty"],
    [[1, 2], 'expected an object'],
  ])('refuses %j by file, line and column', async (row, message) => {
    const path = await write('bad.jsonl', jsonl([{ input_ids: [1, 2] }, row]));
    const failure = renderDocuments({ dataset_type: 'pretokenized', path });
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

  test('trains only on the answer and the end of text', async () => {
    const path = await write('a.jsonl', jsonl(rows));
    expect(await renderDocuments({ dataset_type: 'column_mapped', path, columns })).toEqual([
      '<s>Why?⟦ So.<|im_end|>⟧',
      '<s>Who?⟦ {"name":"Ann","age":3}<|im_end|>⟧',
    ]);
  });

  test('uses the chat template if the model has one', async () => {
    const path = await write('a.jsonl', jsonl(rows.slice(0, 1)));
    const options = { dataset_type: 'column_mapped', path, columns, system_prompt: 'Be brief.' };
    expect(await renderDocuments(options, { chatTemplate: true })).toEqual([
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n⟦So.<|im_end|>⟧\n',
    ]);
  });

  test('trains on everything with `loss: full`', async () => {
    const path = await write('a.jsonl', jsonl(rows.slice(0, 1)));
    expect(await renderDocuments({ dataset_type: 'column_mapped', path, columns, loss: 'full' })).toEqual([
      '⟦<s>Why? So.<|im_end|>⟧',
    ]);
  });

  test('fills templates from columns, including nested ones', async () => {
    const path = await write('a.jsonl', jsonl([{ q: 'Why?', a: { text: ['So.'] }, t: 5 }]));
    const dataset = {
      dataset_type: 'column_mapped',
      path,
      columns: { question: 'q', answer: 'a.text.0', topic: 't' },
      prompt_template: 'Q{topic}: {question} {other}\n',
      answer_template: 'A: {answer}',
    };
    expect(() => dataSchema.parse({ train: dataset })).toThrow('{other} is not one of the mapped columns');
    dataset.prompt_template = 'Q{topic}: {question}\n';
    expect(await renderDocuments(dataset)).toEqual(['<s>Q5: Why?\n⟦A: So.<|im_end|>⟧']);
  });

  test.each([
    ['json', '[{"q": "W,h]y?", "a": "\\"S\\\\"},\n {"q":"é", "a":"b"}]'],
    ['csv', 'q,a\r\n"W,h]y?","""S\\"\r\né,b\r\n'],
    ['tsv', 'q\ta\nW,h]y?\t"""S\\"\né\tb\n'],
    ['jsonl', '\uFEFF{"q": "W,h]y?", "a": "\\"S\\\\"}\n\n{"q":"é", "a":"b"}'],
  ])('reads %s', async (extension, text) => {
    const path = await write(`a.${extension}`, text);
    expect(await renderDocuments({ dataset_type: 'column_mapped', path, columns })).toEqual([
      '<s>W,h]y?⟦ "S\\<|im_end|>⟧',
      '<s>é⟦ b<|im_end|>⟧',
    ]);
  });

  test('counts the rows that lack a column and names the first', async () => {
    const rowsWithGaps = [rows[0], { q: 'x' }, { q: 'y' }, { q: 'z', a: null }];
    const path = await write('a.jsonl', jsonl(rowsWithGaps));
    await expect(renderDocuments({ dataset_type: 'column_mapped', path, columns })).rejects.toThrow(
      /a\.jsonl: 3 of the 4 rows from 1 on cannot be used:\n {2}line 2: lacks the column 'a' \(it has q\)/,
    );
    expect(
      await renderDocuments({ dataset_type: 'column_mapped', path, columns, invalid_rows: 'skip' }),
    ).toHaveLength(1);
  });

  test.each([
    ['a malformed line', '{"q":"a","a":"b"}\n{"q":', 'a.jsonl: line 2: malformed JSON'],
    [
      'a line longer than a row may be',
      `{"q":"a","a":"b"}\n{"q":"${'x'.repeat(17 << 20)}"}\n`,
      'a.jsonl: line 2 is longer than 16 MiB',
    ],
    ['bytes that are not UTF-8', Buffer.from('7b7d0aff0a', 'hex'), 'a.jsonl: line 2: not valid UTF-8'],
  ])('%s is named', async (_, text, message) => {
    const path = await write('a.jsonl', text);
    await expect(renderDocuments({ dataset_type: 'column_mapped', path, columns })).rejects.toThrow(message);
  });

  test('a missing data file is named', async () => {
    const missing = path.join(folder, 'none.jsonl');
    await expect(renderDocuments({ dataset_type: 'column_mapped', path: missing, columns })).rejects.toThrow(
      `${missing}: there is no such file`,
    );
  });

  test('a JSON array that is cut short is named', async () => {
    const path = await write('a.json', '[{"q":"a","a":"b"}, {"q":');
    await expect(renderDocuments({ dataset_type: 'column_mapped', path, columns })).rejects.toThrow(
      'the JSON array does not end',
    );
  });

  test('selects rows by number, and held-out rows never overlap with the rest', async () => {
    const path = await write(
      'a.jsonl',
      jsonl(Array.from({ length: 200 }, (_, index) => ({ q: 'n', a: `${index}` }))),
    );
    const select = (keys: object) =>
      renderDocuments({ dataset_type: 'column_mapped', path, columns, ...keys });
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

describe('chat', () => {
  const openai = {
    messages: [
      { role: 'system', content: 'S' },
      { role: 'user', content: 'U1' },
      { role: 'assistant', content: 'A1' },
      { role: 'user', content: 'U2' },
      { role: 'assistant', content: 'A2' },
    ],
  };
  const chat = async (row: unknown, keys = {}) => {
    const file = await write('chat.jsonl', jsonl([row]));
    return renderDocuments({ dataset_type: 'chat', path: file, ...keys }, { chatTemplate: true });
  };
  const rendered =
    '<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n<|im_start|>assistant\n⟦A1<|im_end|>⟧\n' +
    '<|im_start|>user\nU2<|im_end|>\n<|im_start|>assistant\n⟦A2<|im_end|>⟧\n';

  test("trains on every assistant message, and the token that ends it, in OpenAI's form", async () => {
    expect(await chat(openai)).toEqual([rendered]);
  });

  test("trains on every assistant message in ShareGPT's form", async () => {
    const names = { system: 'system', user: 'human', assistant: 'gpt' } as Record<string, string>;
    const conversations = openai.messages.map(({ role, content }) => ({ from: names[role], value: content }));
    expect(await chat({ conversations })).toEqual([rendered]);
  });

  test('trains on the roles that the recipe names', async () => {
    const row = { messages: openai.messages.slice(0, 3) };
    expect(await chat(row, { train_on_roles: ['user'] })).toEqual([
      '<|im_start|>system\nS<|im_end|>\n⟦<|im_start|>user\nU1<|im_end|>⟧\n<|im_start|>assistant\nA1<|im_end|>\n',
    ]);
  });

  test.each([
    [{ text: 'x' }, "lacks the column 'messages' or 'conversations' (it has text)"],
    [{ messages: [] }, 'is empty'],
    [{ messages: [{ role: 'user' }] }, "message 1 has neither 'content' nor 'value'"],
    [{ messages: [{ role: 'assistant', content: 'x' }] }, 'begins with a message of the assistant'],
    [{ messages: [{ role: 'forbidden', content: 'x' }] }, 'refuses the conversation: no such role'],
  ])('refuses %j', async (row, message) => {
    await expect(chat(row)).rejects.toThrow(message);
  });

  test('refuses a template that renders earlier messages differently later on', async () => {
    const forgetful = byteTokenizer();
    const render = forgetful.applyChatTemplate.bind(forgetful);
    // As with templates that remove the reasoning of earlier turns.
    forgetful.applyChatTemplate = (messages, options) => {
      const lastIndex = messages.length - 1;
      const supervised = messages.map((each, index) =>
        index < lastIndex
          ? { ...each, content: String(each.content).replace(/<think>.*<\/think>/, '') }
          : each,
      );
      return render(supervised, options);
    };
    const messages = [
      { role: 'user', content: 'U' },
      { role: 'assistant', content: '<think>T</think>A' },
      { role: 'user', content: 'V' },
      { role: 'assistant', content: 'B' },
    ];
    const encode = (count: number) =>
      encodeConversation(messages.slice(0, count), new Set(['assistant']), null, forgetful);
    expect(() => encode(4)).toThrow(/message 2 \(assistant\).*no exact loss mask/);
    expect(renderDocument(encode(2), forgetful, false)).toContain('⟦<think>T</think>A<|im_end|>⟧');
  });

  test('needs a chat template', async () => {
    const file = await write('chat.jsonl', jsonl([openai]));
    await expect(renderDocuments({ dataset_type: 'chat', path: file })).rejects.toThrow('the model has none');
  });
});

describe('text', () => {
  test('reads a file as one document with the end of text', async () => {
    const file = await write('a.txt', 'One.\n\nTwo.\n');
    expect(await renderDocuments({ dataset_type: 'text', path: file })).toEqual([
      '⟦<s>One.\n\nTwo.\n<|im_end|>⟧',
    ]);
  });

  test('reads lines or paragraphs as documents', async () => {
    const file = await write('a.txt', 'One.\nstill\n \n\nTwo.\n');
    expect(await renderDocuments({ dataset_type: 'text', path: file, documents: 'line' })).toHaveLength(3);
    expect(await renderDocuments({ dataset_type: 'text', path: file, documents: 'paragraph' })).toEqual([
      '⟦<s>One.\nstill<|im_end|>⟧',
      '⟦<s>Two.<|im_end|>⟧',
    ]);
  });

  test('reads a column', async () => {
    const file = await write('t.jsonl', jsonl([{ body: 'One.' }]));
    expect(await renderDocuments({ dataset_type: 'text', path: file, column: 'body' })).toEqual([
      '⟦<s>One.<|im_end|>⟧',
    ]);
  });

  test('cuts a long document into packs and loses nothing of it', async () => {
    const text = Array.from({ length: 100 }, (_, index) => `line ${index}\n`).join('');
    const file = await write('long.txt', text);
    const pieces = await renderDocuments({ dataset_type: 'text', path: file }, { size: 64 });
    expect(pieces.join('').replace(/[⟦⟧]/g, '')).toBe(`<s>${text}<|im_end|>`);
  });

  test('a file of several chunks has one beginning and one end', async () => {
    const text = 'a line of text\n'.repeat(60_000);
    const file = await write('huge.txt', text);
    const joined = (await renderDocuments({ dataset_type: 'text', path: file }, { size: 1 << 16 }))
      .join('')
      .replace(/[⟦⟧]/g, '');
    expect(joined === `<s>${text}<|im_end|>`).toBe(true);
  });
});

describe('squad', () => {
  const qa = { question: 'Who?', answers: [{ text: 'Ann', answer_start: 0 }] };
  const expected = ['<s>Context: Ann came. Question: Who? Answer:⟦ Ann<|im_end|>⟧'];

  test('reads articles as published, and leaves out questions without an answer', async () => {
    const data = [
      { title: 'T', paragraphs: [{ context: 'Ann came.', qas: [qa, { question: 'Why?', answers: [] }] }] },
    ];
    const file = await write('squad.json', JSON.stringify({ version: '1.1', data }));
    expect(await renderDocuments({ dataset_type: 'squad', path: file })).toEqual(expected);
  });

  test('reads rows', async () => {
    const file = await write(
      'squad.jsonl',
      jsonl([{ context: 'Ann came.', question: 'Who?', answers: { text: ['Ann'] } }]),
    );
    expect(await renderDocuments({ dataset_type: 'squad', path: file })).toEqual(expected);
  });
});

describe('hellaswag', () => {
  test('is cleaned as in its evaluation, by Python’s rule', async () => {
    const ctx = '\u0085Header [title] then\u2028[a\u2028b] go  on [not\nclosed]\u001c';
    const file = await write('h.jsonl', jsonl([{ ctx, endings: ['x', '[step]y[z'], label: 1 }]));
    expect(cleanHellaswag(ctx)).toBe('Header. then\u2028 go on [not\nclosed]');
    expect(await renderDocuments({ dataset_type: 'hellaswag', path: file })).toEqual([
      '<s>Header. then\u2028 go on [not\nclosed]⟦ y[z<|im_end|>⟧',
    ]);
  });

  test('is cleaned in linear time', () => {
    expect(cleanHellaswag('['.repeat(400_000))).toHaveLength(400_000);
    expect(cleanHellaswag('[\n'.repeat(200_000))).toHaveLength(399_999);
  });

  test('becomes the context with its right ending', async () => {
    const row = { ctx: 'She runs [substeps] and', endings: ['sits.', 'jumps.'], label: 1 };
    const file = await write('h.jsonl', jsonl([row, { ...row, label: '0' }]));
    expect(await renderDocuments({ dataset_type: 'hellaswag', path: file })).toEqual([
      '<s>She runs and⟦ jumps.<|im_end|>⟧',
      '<s>She runs and⟦ sits.<|im_end|>⟧',
    ]);
  });

  test('a label without an ending is refused', async () => {
    const file = await write('h.jsonl', jsonl([{ ctx: 'x', endings: ['a'], label: 3 }]));
    await expect(renderDocuments({ dataset_type: 'hellaswag', path: file })).rejects.toThrow(
      "'label' 3 is not an index of 'endings'",
    );
  });
});

test('a token is trained on when it shares a character with the answer', () => {
  const mergingTokenizer = { ...byteTokenizer({ chatTemplate: false }) };
  // One token spans the boundary between prompt and answer.
  mergingTokenizer.encode = () => ({
    ids: [1, 2, 3],
    offsets: [
      [0, 1],
      [1, 3],
      [3, 4],
    ],
  });
  expect([...encodeCompletion('ab', 'cd', 'answer', mergingTokenizer).labels]).toEqual([-100, 2, 3, 257]);
});

test('a tokenizer with more ids than the model has is refused', async () => {
  const file = await write('v.txt', 'é');
  const dataset = dataSchema.parse({ train: { dataset_type: 'text', path: file } }).train as SingleDataset;
  const context = { tokenizer: byteTokenizer(), vocabularySize: 256, packedSequenceSize: 8 };
  for await (const chunk of planChunks(await planSource(dataset, 1))) {
    await expect(tokenizeChunk(chunk, dataset, context)).rejects.toThrow('the tokenizer gives the id 256');
  }
});

test('data files of a folder or a glob are read in the order of their names', async () => {
  const nested = path.join(folder, 'many');
  await mkdir(nested);
  for (const name of ['b', 'a', 'c'])
    await writeFile(path.join(nested, `${name}.jsonl`), jsonl([{ text: name }]));
  const readText = async (location: string) =>
    (await renderDocuments({ dataset_type: 'text', path: location })).join('');
  expect(await readText(nested)).toBe('⟦<s>a<|im_end|>⟧⟦<s>b<|im_end|>⟧⟦<s>c<|im_end|>⟧');
  expect(await readText(path.join(nested, '[ac].jsonl'))).toBe('⟦<s>a<|im_end|>⟧⟦<s>c<|im_end|>⟧');
});
