import { continuationTokens, rollingWindows } from '../../../recipes/llm/evaluate/likelihood_requests.js';

/** Words with the space before them are tokens, as in GPT-2; each has the number of its first letter. */
const encode = (text: string) =>
  (text.match(/ ?\S+|\s+/g) ?? []).map((token) => token.trim().charCodeAt(0) || 0);
const split = { encode, prefix: 1, maxPositions: 100 };
const codes = (letters: string) => [...letters].map((letter) => letter.charCodeAt(0));

test("the continuation's tokens are those behind the context's own", () => {
  expect(continuationTokens('a b', ' c d', split)).toEqual({ ids: codes('abcd'), from: 1 });
});

test('white space that ends the context belongs to the continuation', () => {
  expect(continuationTokens('a b ', 'c d', split)).toEqual(continuationTokens('a b', ' c d', split));
});

test('a token across the border counts as the context has it alone', () => {
  // "ab" is one token of the whole, and "a" one of the context: nothing is left to score but what follows.
  expect(continuationTokens('a', 'b c', split)).toEqual({ ids: codes('ac'), from: 0 });
});

test('an empty context is the prefix token', () => {
  expect(continuationTokens('', 'c d', split)).toEqual({ ids: [1, ...codes('cd')], from: 0 });
});

test("what is longer than the model's context loses its beginning", () => {
  const long = { ...split, maxPositions: 3 };
  expect(continuationTokens('a b c d', ' e f', long)).toEqual({ ids: codes('cdef'), from: 1 });
});

test.each([1, 4, 5, 9, 10, 13])(
  'windows over %d tokens predict each once, with all the context there is room for',
  (n) => {
    const tokens = Array.from({ length: n }, (_, index) => 100 + index);
    const windows = rollingWindows(tokens, 1, 5);
    const predicted = windows.flatMap(({ ids, from }) => ids.slice(from + 1));
    expect(predicted).toEqual(tokens);
    for (const [index, { ids }] of windows.entries()) {
      expect(ids.length).toBeLessThanOrEqual(6);
      if (index > 0) expect(ids).toHaveLength(6);
    }
    expect(windows[0]!.ids[0]).toBe(1);
  },
);
