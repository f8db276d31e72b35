import { guardFinite, shouldStop, updateBest } from '../../../components/training/index.js';
import { NonFiniteError } from '../../../shared/errors.js';

test('a finite step passes', () => {
  expect(() => guardFinite(3, 1.5, 0.2, Float32Array.of(0.1), ['a'])).not.toThrow();
});

test('a non-finite gradient is named with its step', () => {
  const attempt = () =>
    guardFinite(7, 1.5, Number.NaN, Float32Array.of(0.1, Number.NaN), ['a', 'layers.3.b']);
  expect(attempt).toThrow(NonFiniteError);
  expect(attempt).toThrow(/step 7 .*layers\.3\.b/);
});

test('a non-finite loss stops the run even when the norm is finite', () => {
  expect(() => guardFinite(1, Number.POSITIVE_INFINITY, 1, Float32Array.of(1), ['a'])).toThrow(
    NonFiniteError,
  );
});

test('early stopping counts validations without improvement and starts again after one', () => {
  const rule = { metric: 'val_loss', patience: 2, min_delta: 0.1 };
  const result = (step: number, value: number) =>
    ({ metric: 'val_loss', value, step, direction: 'lower', minDelta: rule.min_delta }) as const;
  let best = updateBest(null, result(10, 1));
  best = updateBest(best, result(20, 0.95));
  expect(shouldStop(best, rule)).toBe(false);
  expect(shouldStop(updateBest(best, result(30, 0.95)), rule)).toBe(true);
  expect(updateBest(best, result(30, 0.8))).toEqual({
    metric: 'val_loss',
    value: 0.8,
    step: 30,
    misses: 0,
  });
});
