/** Rounding of float64 values to the engine's storage types. */
import type { DType } from './plan.js';

const word = new Float32Array(1);
const bits = new Uint32Array(word.buffer);

/** Nearest bfloat16, ties to even. */
export function toBf16(x: number): number {
  word[0] = x;
  const u = bits[0]!;
  if ((u & 0x7f800000) === 0x7f800000) return word[0]!;
  bits[0] = (u + 0x7fff + ((u >>> 16) & 1)) & 0xffff0000;
  return word[0]!;
}

/** Nearest float16, ties to even. */
export function toF16(x: number): number {
  if (!Number.isFinite(x) || x === 0) return x;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), -14);
  const step = 2 ** (exponent - 10);
  const scaled = x / step;
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
  const value = rounded * step;
  return Math.abs(value) > 65504 ? Math.sign(x) * Number.POSITIVE_INFINITY : value;
}

/** What a store of `x` as `dtype` keeps. */
export function roundTo(x: number, dtype: DType): number {
  if (dtype === 'f32') return Math.fround(x);
  if (dtype === 'bf16') return toBf16(x);
  if (dtype === 'f16') return toF16(x);
  return x;
}
