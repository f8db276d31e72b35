import { EpochOrder } from '../../../components/datasets/llm/index.js';

test.each([1, 2, 3, 4, 5, 16, 17, 97, 1000, 4097])('an epoch of %i packs takes each pack once', (length) => {
  const order = new EpochOrder(length, 1111, 0).slice(0, length);
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length }, (_, index) => index));
});

test('the order of packs depends only on seed and epoch', () => {
  const order = (seed: number, epoch: number) => new EpochOrder(1000, seed, epoch).slice(0, 1000).join();
  expect(order(1, 0)).toBe(order(1, 0));
  expect(new Set([order(1, 0), order(1, 1), order(2, 0), order(1 + 2 ** 40, 0)]).size).toBe(4);
});

test('every pack is at every position about equally often over many seeds', () => {
  const length = 8;
  const seeds = 2000;
  const counts = Array.from({ length }, () => new Array<number>(length).fill(0));
  for (let seed = 0; seed < seeds; seed += 1) {
    new EpochOrder(length, seed, 3).slice(0, length).forEach((pack, position) => {
      counts[position]![pack]! += 1;
    });
  }
  // Binomial with p = 1/8: six standard deviations are 6·√(2000·7/64) ≈ 89.
  for (const row of counts)
    for (const count of row) expect(Math.abs(count - seeds / length)).toBeLessThan(89);
});

test('packs that are neighbors in the data do not stay neighbors', () => {
  const order = new EpochOrder(4096, 5, 0).slice(0, 4096);
  const neighbors = order.filter(
    (pack, position) => position > 0 && pack === order[position - 1]! + 1,
  ).length;
  // One expected by chance (Poisson): ten or more has probability 1e-7.
  expect(neighbors).toBeLessThan(10);
});

test('the order of packs does not change between versions', () => {
  expect(new EpochOrder(10, 1111, 0).slice(0, 10)).toMatchInlineSnapshot(`
[
  7,
  6,
  0,
  9,
  2,
  8,
  4,
  1,
  3,
  5,
]
`);
});

test('a position outside the epoch is refused', () => {
  expect(() => new EpochOrder(4, 0, 0).at(4)).toThrow(RangeError);
});
