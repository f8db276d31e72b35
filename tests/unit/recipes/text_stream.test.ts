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

/** The pieces that a stream gives, up to its stop. */
function pieces(tokenizer: ModelTokenizer, ids: readonly number[], stop: readonly string[] = []): string[] {
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
  const texts = pieces(tokenizer, ids);
  expect(texts.join('')).toBe(tokenizer.decode(ids, { skipSpecial: true }));
  expect(texts.join('')).toBe(text);
  expect(texts.filter((piece) => piece.includes('\ufffd') || /^[\udc00-\udfff]/.test(piece))).toEqual([]);
});

test('text comes as soon as it is certain', () => {
  const ids = encode(byteLevel, 'The capital of France');
  const stream = new TextStream(byteLevel, []);
  expect(ids.map((id) => stream.push(id).text)).toEqual(ids.map((id) => byteLevel.decode([id])));
});

test('bytes that are no character come out at the end as U+FFFD', () => {
  const [first] = encode(byteLevel, '😀');
  expect(pieces(byteLevel, [...encode(byteLevel, 'a'), first!]).join('')).toBe('a\ufffd');
});

test.each([
  ['within a token', ['pital'], 'The ca'],
  ['across tokens', ['al of Fr'], 'The capit'],
  ['the first of several', ['France', 'capital', 'zzz'], 'The '],
  ['at the beginning', ['The'], ''],
])('a stop string %s ends the text before it', (_, stop, expected) => {
  const ids = encode(byteLevel, 'The capital of France is Paris.');
  const texts = pieces(byteLevel, ids, stop);
  expect(texts.join('')).toBe(expected);
  expect(texts.length).toBeLessThan(ids.length);
});

test('what only began like a stop string is given out', () => {
  const ids = encode(byteLevel, 'The capital of');
  expect(pieces(byteLevel, ids, ['capital city', 'of course']).join('')).toBe('The capital of');
});

test('special tokens are no text', () => {
  const id = [...byteLevel.specialTokens].map((token) => byteLevel.tokenToId(token)!)[0]!;
  expect(pieces(byteLevel, [...encode(byteLevel, 'a'), id]).join('')).toBe('a');
});
