import { parseGguf, tokenizerFromGguf } from '../../../components/models/index.js';
import { ModelTokenizer } from '../../../components/tokenizer/index.js';
import { readRequests, type ScoreRequest } from '../../../recipes/llm/score/score_lines.js';
import { bufferSize } from '../../../recipes/llm/score/scorer.js';
import { DataError } from '../../../shared/errors.js';
import { golden } from '../../support/goldens.js';

const { tokenizer: json, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', 'smollm.gguf')));
const tokenizer = new ModelTokenizer({ tokenizer: json, config, chatTemplate: null }, 'smollm');
const encodeIds = (text: string) => tokenizer.encode(text, { addSpecial: false }).ids;

async function readLines(input: string | Uint8Array, chunk = 7): Promise<ScoreRequest[]> {
  const bytes = Buffer.from(input);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let start = 0; start < bytes.length; start += chunk) yield bytes.subarray(start, start + chunk);
  }
  const context = { file: 'x.jsonl', vocabularySize: 100, tokenizer: async () => tokenizer };
  const requests: ScoreRequest[] = [];
  for await (const request of readRequests(chunks(), context)) requests.push(request);
  return requests;
}

test('ids are scored unchanged, other keys are ignored, and empty lines are skipped', async () => {
  expect(await readLines('{"input_ids": [1, 2, 3], "id": 7}\n\n{"input_ids": []}')).toEqual([
    { ids: [1, 2, 3], from: 0 },
    { ids: [], from: 0 },
  ]);
});

test('a text to score gets no special tokens, however its bytes are chunked', async () => {
  for (const chunk of [1, 3, 1000])
    expect(await readLines('{"text": "Größe 東京"}\n', chunk)).toEqual([
      { ids: encodeIds('Größe 東京'), from: 0 },
    ]);
});

test('a completion begins with the first token that contains one of its characters', async () => {
  const [request] = await readLines('{"prompt": "the capital of", "completion": " France is"}');
  const { ids, offsets } = tokenizer.encode('the capital of France is', { addSpecial: false });
  const firstToken = offsets.findIndex(([, end]) => end > 'the capital of'.length);
  expect(request).toEqual({ ids, from: firstToken - 1 });
  expect(offsets[firstToken]![0]).toBe('the capital of'.length);
});

test('an empty completion has no tokens, and with an empty prompt every predictable token is scored', async () => {
  const requests = await readLines(
    '{"prompt": "one two", "completion": ""}\n{"prompt": "", "completion": "one two"}',
  );
  expect(requests.map(({ ids, from }) => ids.length - 1 - from)).toEqual([
    0,
    encodeIds('one two').length - 1,
  ]);
});

test.each([
  ['{"input_ids": [1]}\n{"input_ids": [1, 100]}', 'x.jsonl:2: input_ids holds 100'],
  ['{"input_ids": [1.5]}', 'x.jsonl:1: input_ids holds 1.5'],
  ['{"input_ids": "1 2"}', 'x.jsonl:1: input_ids must be a list'],
  ['\n{"text": 3}', 'x.jsonl:2: a line needs'],
  ['{"prompt": "a"}', 'x.jsonl:1: a line needs'],
  ['[1, 2]', 'x.jsonl:1: a line must be a JSON object'],
  ['{"text": "a"', 'x.jsonl:1: malformed JSON'],
])('%j is refused by file and line', async (input, message) => {
  await expect(readLines(input)).rejects.toThrow(DataError);
  await expect(readLines(input)).rejects.toThrow(message);
});

test('bytes that are not UTF-8 are refused by file and line', async () => {
  const bytes = Buffer.concat([
    Buffer.from('{"text": "a"}\n{"text": "'),
    Buffer.from([0xff]),
    Buffer.from('"}'),
  ]);
  await expect(readLines(bytes)).rejects.toThrow('x.jsonl:2: not valid UTF-8');
});

test('score buffers have four sizes per power of two and waste at most a quarter', () => {
  expect([1, 64, 65, 80, 81, 2048, 2049].map(bufferSize)).toEqual([64, 64, 80, 80, 96, 2048, 2560]);
  for (let tokens = 65; tokens < 5000; tokens += 13) {
    expect(bufferSize(tokens)).toBeGreaterThanOrEqual(tokens);
    expect(bufferSize(tokens)).toBeLessThan(1.25 * tokens + 1);
  }
});
