import { meanEstimate, ratioEstimate } from '../../../components/evaluation/index.js';

test('the standard error of a mean is the sample deviation over the root of n', () => {
  // statistics.stdev([1, 0, 0, 1]) / 2 in Python
  expect(meanEstimate([1, 0, 0, 1])).toEqual({
    value: 0.5,
    stderr: expect.closeTo(0.2886751345948129, 15),
    n: 4,
  });
});

test('one example leaves it unknown', () => {
  expect(meanEstimate([3])).toEqual({ value: 3, stderr: null, n: 1 });
});

test('a ratio of equal denominators is a mean', () => {
  const values = [1, 4, 2, 5];
  const ratio = ratioEstimate(values.map((numerator) => ({ numerator, denominator: 1 })));
  const mean = meanEstimate(values);
  expect(ratio.value).toBe(mean.value);
  expect(ratio.stderr).toBeCloseTo(mean.stderr!, 14);
});

test("a ratio's standard error is the spread that resampling finds", () => {
  let state = 7;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const pairs = Array.from({ length: 200 }, () => {
    const denominator = 5 + 40 * uniform();
    return { denominator, numerator: denominator * (2 + uniform()) + 4 * uniform() };
  });
  const resampled = Array.from({ length: 2000 }, () => {
    const drawn = pairs.map(() => pairs[Math.floor(uniform() * pairs.length)]!);
    return ratioEstimate(drawn).value;
  });
  const mean = resampled.reduce((sum, value) => sum + value, 0) / resampled.length;
  const spread = Math.sqrt(resampled.reduce((sum, value) => sum + (value - mean) ** 2, 0) / resampled.length);
  // 2000 draws know their own spread to about 1.6 %.
  expect(ratioEstimate(pairs).stderr! / spread).toBeCloseTo(1, 1);
});
