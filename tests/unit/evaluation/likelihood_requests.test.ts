import { continuationTokens, rollingWindows } from '../../../recipes/llm/evaluate/likelihood_requests.js';

/** Encodes words with the space before them as tokens, as GPT-2 does; each has the number of its first letter. */
const encode = (text: string) =>
  (text.match(/ ?\S+|\s+/g) ?? []).map((token) => token.trim().charCodeAt(0) || 0);
const split = { encode, prefix: 1, maxPositions: 100 };
const codes = (letters: string) => [...letters].map((letter) => letter.charCodeAt(0));

test("the tokens of a continuation are those after the context's tokens", () => {
  expect(continuationTokens('a b', ' c d', split)).toEqual({ ids: codes('abcd'), from: 1 });
});

test('white space at the end of a context belongs to the continuation', () => {
  expect(continuationTokens('a b ', 'c d', split)).toEqual(continuationTokens('a b', ' c d', split));
});

test('a token across the boundary is tokenized as in the context alone', () => {
  // "ab" is one token of the whole text, and "a" one of the context: only the tokens after it are scored.
  expect(continuationTokens('a', 'b c', split)).toEqual({ ids: codes('ac'), from: 0 });
});

test('an empty context is replaced by the prefix token', () => {
  expect(continuationTokens('', 'c d', split)).toEqual({ ids: [1, ...codes('cd')], from: 0 });
});

test("a request longer than the model's context loses its beginning", () => {
  const shortContext = { ...split, maxPositions: 3 };
  expect(continuationTokens('a b c d', ' e f', shortContext)).toEqual({ ids: codes('cdef'), from: 1 });
});

test.each([1, 4, 5, 9, 10, 13])(
  'windows over %d tokens predict each token once, with as much context as fits',
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
