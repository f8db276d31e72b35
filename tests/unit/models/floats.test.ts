import { fromFloat32, halfToNumber, numberToHalf, toFloat32 } from '../../../shared/safetensors/floats.js';

test('every float16 is the same after conversion to a number and back', () => {
  const halves = Array.from({ length: 0x10000 }, (_, half) => half);
  const changedHalves = halves.filter((half) => {
    const value = halfToNumber(half);
    return !Number.isNaN(value) && numberToHalf(value) !== half;
  });
  expect(changedHalves).toEqual([]);
});

test.each([
  [1 + 2 ** -11, 1],
  [1 + 3 * 2 ** -11, 1 + 2 ** -9],
  [65519, 65504],
  [65520, Number.POSITIVE_INFINITY],
  [2 ** -25, 0],
  [3 * 2 ** -25, 2 ** -23],
  [2047.5, 2048],
])('%d rounds to the float16 %d, ties to even', (value, expected) => {
  expect(halfToNumber(numberToHalf(value))).toBe(expected);
});

test.each([
  [1 + 2 ** -8, 1],
  [1 + 3 * 2 ** -8, 1 + 2 ** -6],
  [Number.NaN, Number.NaN],
  [-Number.MAX_VALUE, Number.NEGATIVE_INFINITY],
  [3.4e38, Number.POSITIVE_INFINITY],
])('%d rounds to the bfloat16 %d, ties to even', (value, expected) => {
  expect(toFloat32(fromFloat32(Float32Array.of(value), 'BF16'), 'BF16')[0]).toBe(expected);
});

test('float32 bytes at an odd address are read correctly', () => {
  const bytes = Buffer.concat([Buffer.of(7), Buffer.from(Float32Array.of(1.5).buffer)]).subarray(1);
  expect([...toFloat32(bytes, 'F32')]).toEqual([1.5]);
});
