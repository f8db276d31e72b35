import { meanEstimate, ratioEstimate } from '../../../components/evaluation/index.js';

test('the standard error of a mean is the sample deviation over the root of n', () => {
  // statistics.stdev([1, 0, 0, 1]) / 2 in Python
  expect(meanEstimate([1, 0, 0, 1])).toEqual({
    value: 0.5,
    stderr: expect.closeTo(0.2886751345948129, 15),
    n: 4,
  });
});

test('the standard error of one example is unknown', () => {
  expect(meanEstimate([3])).toEqual({ value: 3, stderr: null, n: 1 });
});

test('a ratio with equal denominators is a mean', () => {
  const values = [1, 4, 2, 5];
  const ratio = ratioEstimate(values.map((numerator) => ({ numerator, denominator: 1 })));
  const mean = meanEstimate(values);
  expect(ratio.value).toBe(mean.value);
  expect(ratio.stderr).toBeCloseTo(mean.stderr!, 14);
});

test('the standard error of a ratio is the spread of resampled ratios', () => {
  let state = 7;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const pairs = Array.from({ length: 200 }, () => {
    const denominator = 5 + 40 * uniform();
    return { denominator, numerator: denominator * (2 + uniform()) + 4 * uniform() };
  });
  const resampledRatios = Array.from({ length: 2000 }, () => {
    const sample = pairs.map(() => pairs[Math.floor(uniform() * pairs.length)]!);
    return ratioEstimate(sample).value;
  });
  const mean = resampledRatios.reduce((sum, value) => sum + value, 0) / resampledRatios.length;
  const spread = Math.sqrt(
    resampledRatios.reduce((sum, value) => sum + (value - mean) ** 2, 0) / resampledRatios.length,
  );
  // The spread of 2000 samples is known to about 1.6 %.
  expect(ratioEstimate(pairs).stderr! / spread).toBeCloseTo(1, 1);
});
