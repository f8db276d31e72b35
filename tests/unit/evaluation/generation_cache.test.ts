import { KvCache } from '../../../components/generation/kv_cache.js';
import { PromptMemory } from '../../../components/generation/prompt_memory.js';

const geometry = { layers: 1, kvHeads: 2, headSize: 3, type: 'float32' } as const;

/** Does what a run of the model does: copies the past and appends the new tokens, whose values encode token and head. */
function appendTokens(cache: KvCache, values: readonly (readonly number[])[]): void {
  const added = values[0]!.length;
  const past = cache.feeds();
  for (const [name, present] of Object.entries(cache.fetches(added))) {
    const [rows, heads, total, size] = present.dims as [number, number, number, number];
    const pastValues = past[name.replace('present', 'past_key_values')]!.data as Float32Array;
    const presentValues = present.data as Float32Array;
    for (let index = 0; index < rows * heads; index++) {
      const kept = total - added;
      presentValues.set(
        pastValues.subarray(index * kept * size, (index + 1) * kept * size),
        index * total * size,
      );
      for (let token = 0; token < added; token++) {
        const start = (index * total + kept + token) * size;
        const value = signed(values[Math.floor(index / heads)]![token]!, index % heads);
        presentValues.fill(value, start, start + size);
      }
    }
  }
  cache.advance(added);
}
const signed = (value: number, head: number) => (head === 0 ? value : -value);

/** Returns the tokens of each row, and checks that both heads, and keys and values, hold the same. */
function readTokens(cache: KvCache): number[][] {
  const contents = Object.values(cache.feeds()).map(({ data, dims }) => {
    const [rows, heads, total, size] = dims as [number, number, number, number];
    return Array.from({ length: rows }, (_, row) =>
      Array.from({ length: heads }, (_, head) =>
        Array.from({ length: cache.tokens[row]! }, (_, token) => {
          const column = total - cache.tokens[row]! + token;
          const start = ((row * heads + head) * total + column) * size;
          const values = (data as Float32Array).subarray(start, start + size);
          expect(new Set(values).size).toBe(1);
          return signed(values[0]!, head);
        }),
      ),
    );
  });
  const [firstTensor] = contents;
  expect(contents.every((rows) => JSON.stringify(rows) === JSON.stringify(firstTensor))).toBe(true);
  expect(firstTensor!.every(([a, b]) => JSON.stringify(a) === JSON.stringify(b))).toBe(true);
  return firstTensor!.map(([row]) => row!);
}

function createCache(...values: number[]): KvCache {
  const cache = new KvCache(geometry);
  cache.reset();
  if (values.length > 0) appendTokens(cache, [values]);
  return cache;
}
const numbers = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

test('rows of a key-value cache join with different lengths, grow together and leave in any order', () => {
  const cache = new KvCache(geometry);
  cache.append(createCache(...numbers(100, 5)));
  cache.append(createCache(...numbers(200, 2)));
  appendTokens(cache, [[105], [202]]);
  cache.append(createCache(300));
  appendTokens(cache, [[106], [203], [301]]);
  expect(readTokens(cache)).toEqual([numbers(100, 7), numbers(200, 4), numbers(300, 2)]);
  cache.remove(0);
  expect(readTokens(cache)).toEqual([numbers(300, 2), numbers(200, 4)]);
  expect(cache.length).toBe(4);
  appendTokens(cache, [[302], [204]]);
  cache.remove(1);
  expect(readTokens(cache)).toEqual([numbers(300, 3)]);
  cache.remove(0);
  cache.append(createCache(...numbers(400, 3)));
  expect(readTokens(cache)).toEqual([numbers(400, 3)]);
});

test('a longer row that joins a key-value cache pads the others on the left', () => {
  const cache = new KvCache(geometry);
  cache.append(createCache(...numbers(100, 2)));
  cache.append(createCache(...numbers(200, 300)));
  appendTokens(cache, [[102], [500]]);
  expect(readTokens(cache)).toEqual([numbers(100, 3), numbers(200, 301)]);
});

test('a prompt reuses the tokens that it shares with the conversation before', () => {
  const memory = new PromptMemory();
  const answerCache = createCache(1, 2, 3, 4, 5);
  // The last token of an answer is never run.
  memory.keep(answerCache, [1, 2, 3, 4, 5, 6]);
  const common = memory.recall([1, 2, 3, 9, 9, 9]);
  expect(readTokens(common!)).toEqual([[1, 2, 3]]);
  expect(memory.recall([1, 2, 3])).toBeNull();
  memory.keep(createCache(1, 2, 3), [1, 2, 3, 4]);
  expect(readTokens(memory.recall([1, 2, 3])!)).toEqual([[1, 2]]);
  memory.keep(createCache(1, 2, 3), [1, 2, 3]);
  expect(readTokens(memory.recall([1, 2, 3, 4, 5])!)).toEqual([[1, 2, 3]]);
  memory.keep(createCache(1, 2, 3), [1, 2, 3]);
  expect(memory.recall([7, 2, 3])).toBeNull();
});
