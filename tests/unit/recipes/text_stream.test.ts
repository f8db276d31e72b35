import { parseGguf, tokenizerFromGguf } from '../../../components/models/index.js';
import { ModelTokenizer } from '../../../components/tokenizer/index.js';
import { TextStream } from '../../../recipes/llm/generate/text_stream.js';
import { golden } from '../../support/goldens.js';

const tokenizers = ['smollm', 'llama'].map((name) => {
  const { tokenizer, config } = tokenizerFromGguf(parseGguf(golden('tokenizers', `${name}.gguf`)));
  return [name, new ModelTokenizer({ tokenizer, config, chatTemplate: null }, name)] as const;
});
const [, byteLevel] = tokenizers[0]!;

const encode = (tokenizer: ModelTokenizer, text: string) =>
  tokenizer.encode(text, { addSpecial: false, offsets: false }).ids;

/** Returns the pieces that a stream gives, up to its stop. */
function streamPieces(
  tokenizer: ModelTokenizer,
  ids: readonly number[],
  stop: readonly string[] = [],
): string[] {
  const stream = new TextStream(tokenizer, stop);
  const texts: string[] = [];
  for (const id of ids) {
    const { text, stopped } = stream.push(id);
    texts.push(text);
    if (stopped) return texts;
  }
  return [...texts, stream.end()];
}

const text = 'Zürich — naïve café… 😀👩‍👩‍👧‍👦 こんにちは!\n\n  two  spaces';

test.each(tokenizers)('the pieces of %s are whole characters and add up to the text', (_, tokenizer) => {
  const ids = encode(tokenizer, text);
  const texts = streamPieces(tokenizer, ids);
  expect(texts.join('')).toBe(tokenizer.decode(ids, { skipSpecial: true }));
  expect(texts.join('')).toBe(text);
  expect(texts.filter((piece) => piece.includes('\ufffd') || /^[\udc00-\udfff]/.test(piece))).toEqual([]);
});

test('a text stream gives each token’s text as soon as it is certain', () => {
  const ids = encode(byteLevel, 'The capital of France');
  const stream = new TextStream(byteLevel, []);
  expect(ids.map((id) => stream.push(id).text)).toEqual(ids.map((id) => byteLevel.decode([id])));
});

test('a text stream gives bytes that are not a character as U+FFFD at its end', () => {
  const [firstByte] = encode(byteLevel, '😀');
  expect(streamPieces(byteLevel, [...encode(byteLevel, 'a'), firstByte!]).join('')).toBe('a\ufffd');
});

test.each([
  ['within a token', ['pital'], 'The ca'],
  ['across tokens', ['al of Fr'], 'The capit'],
  ['the first of several', ['France', 'capital', 'zzz'], 'The '],
  ['at the beginning', ['The'], ''],
])('a stop string %s ends the text before it', (_, stop, expected) => {
  const ids = encode(byteLevel, 'The capital of France is Paris.');
  const texts = streamPieces(byteLevel, ids, stop);
  expect(texts.join('')).toBe(expected);
  expect(texts.length).toBeLessThan(ids.length);
});

test('a text stream gives text that only began like a stop string', () => {
  const ids = encode(byteLevel, 'The capital of');
  expect(streamPieces(byteLevel, ids, ['capital city', 'of course']).join('')).toBe('The capital of');
});

test('a text stream leaves out special tokens', () => {
  const id = [...byteLevel.specialTokens].map((token) => byteLevel.tokenToId(token)!)[0]!;
  expect(streamPieces(byteLevel, [...encode(byteLevel, 'a'), id]).join('')).toBe('a');
});
