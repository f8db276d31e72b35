import { KvCache } from '../../../components/generation/kv_cache.js';
import { PromptMemory } from '../../../components/generation/prompt_memory.js';

const geometry = { layers: 1, kvHeads: 2, headSize: 3, type: 'float32' } as const;

/** Does what a run does: copies the past and appends the new tokens; a value tells row, head, token and position. */
function run(cache: KvCache, values: readonly (readonly number[])[]): void {
  const added = values[0]!.length;
  const past = cache.feeds();
  for (const [name, present] of Object.entries(cache.fetches(added))) {
    const [rows, heads, total, size] = present.dims as [number, number, number, number];
    const before = past[name.replace('present', 'past_key_values')]!.data as Float32Array;
    const after = present.data as Float32Array;
    for (let at = 0; at < rows * heads; at++) {
      const old = before.subarray(at * (total - added) * size, (at + 1) * (total - added) * size);
      after.set(old, at * total * size);
      for (let token = 0; token < added; token++) {
        const start = (at * total + total - added + token) * size;
        after.fill(signed(values[Math.floor(at / heads)]![token]!, at % heads), start, start + size);
      }
    }
  }
  cache.advance(added);
}
const signed = (value: number, head: number) => (head === 0 ? value : -value);

/** The tokens of each row, of both heads and of keys and values alike. */
function held(cache: KvCache): number[][] {
  const contents = Object.values(cache.feeds()).map(({ data, dims }) => {
    const [rows, heads, total, size] = dims as [number, number, number, number];
    return Array.from({ length: rows }, (_, row) =>
      Array.from({ length: heads }, (_, head) =>
        Array.from({ length: cache.tokens[row]! }, (_, token) => {
          const column = total - cache.tokens[row]! + token;
          const at = ((row * heads + head) * total + column) * size;
          const values = (data as Float32Array).subarray(at, at + size);
          expect(new Set(values).size).toBe(1);
          return signed(values[0]!, head);
        }),
      ),
    );
  });
  const [first] = contents;
  expect(contents.every((rows) => JSON.stringify(rows) === JSON.stringify(first))).toBe(true);
  expect(first!.every(([a, b]) => JSON.stringify(a) === JSON.stringify(b))).toBe(true);
  return first!.map(([row]) => row!);
}

function single(...values: number[]): KvCache {
  const cache = new KvCache(geometry);
  cache.reset();
  if (values.length > 0) run(cache, [values]);
  return cache;
}
const numbers = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);

test('rows of different lengths join, grow together and leave in any order', () => {
  const cache = new KvCache(geometry);
  cache.append(single(...numbers(100, 5)));
  cache.append(single(...numbers(200, 2)));
  run(cache, [[105], [202]]);
  cache.append(single(300));
  run(cache, [[106], [203], [301]]);
  expect(held(cache)).toEqual([numbers(100, 7), numbers(200, 4), numbers(300, 2)]);
  cache.remove(0);
  expect(held(cache)).toEqual([numbers(300, 2), numbers(200, 4)]);
  expect(cache.length).toBe(4);
  run(cache, [[302], [204]]);
  cache.remove(1);
  expect(held(cache)).toEqual([numbers(300, 3)]);
  cache.remove(0);
  cache.append(single(...numbers(400, 3)));
  expect(held(cache)).toEqual([numbers(400, 3)]);
});

test('a longer row makes room for itself on the left of the others', () => {
  const cache = new KvCache(geometry);
  cache.append(single(...numbers(100, 2)));
  cache.append(single(...numbers(200, 300)));
  run(cache, [[102], [500]]);
  expect(held(cache)).toEqual([numbers(100, 3), numbers(200, 301)]);
});

test('a conversation that goes on finds what it has in common with the one before', () => {
  const memory = new PromptMemory();
  const answered = single(1, 2, 3, 4, 5);
  // The last token of an answer is never run.
  memory.keep(answered, [1, 2, 3, 4, 5, 6]);
  const common = memory.recall([1, 2, 3, 9, 9, 9]);
  expect(held(common!)).toEqual([[1, 2, 3]]);
  expect(memory.recall([1, 2, 3])).toBeNull();
  memory.keep(single(1, 2, 3), [1, 2, 3, 4]);
  expect(held(memory.recall([1, 2, 3])!)).toEqual([[1, 2]]);
  memory.keep(single(1, 2, 3), [1, 2, 3]);
  expect(held(memory.recall([1, 2, 3, 4, 5])!)).toEqual([[1, 2, 3]]);
  memory.keep(single(1, 2, 3), [1, 2, 3]);
  expect(memory.recall([7, 2, 3])).toBeNull();
});
