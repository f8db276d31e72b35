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

interface SmallFloat {
  mantissaBits: number;
  /** Exponent of the smallest normal number. */
  minExponent: number;
  /** Largest finite value. */
  max: number;
  /** The result beyond that: infinities where the format has them. */
  overflow: number;
}

const f16: SmallFloat = {
  mantissaBits: 10,
  minExponent: -14,
  max: 65504,
  overflow: Number.POSITIVE_INFINITY,
};
/** OCP's E4M3 has no infinities, E5M2 has ("OCP 8-bit Floating Point Specification", 2023). */
const f8e4m3: SmallFloat = { mantissaBits: 3, minExponent: -6, max: 448, overflow: Number.NaN };
const f8e5m2: SmallFloat = {
  mantissaBits: 2,
  minExponent: -14,
  max: 57344,
  overflow: Number.POSITIVE_INFINITY,
};

/** Nearest value of a small float format, ties to even. */
function toSmallFloat(x: number, { mantissaBits, minExponent, max, overflow }: SmallFloat): number {
  if (Number.isNaN(x) || x === 0) return x;
  if (!Number.isFinite(x)) return Math.sign(x) * overflow;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), minExponent);
  const step = 2 ** (exponent - mantissaBits);
  const scaled = x / step;
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
  const value = rounded * step;
  return Math.abs(value) > max ? Math.sign(x) * overflow : value;
}

/** Nearest float16, ties to even. */
export const toF16 = (x: number): number => toSmallFloat(x, f16);

/** Returns the value that a store of `x` as `dtype` keeps. */
export function roundTo(x: number, dtype: DType): number {
  switch (dtype) {
    case 'f32':
      return Math.fround(x);
    case 'bf16':
      return toBf16(x);
    case 'f16':
      return toF16(x);
    case 'f8e4m3':
      return toSmallFloat(x, f8e4m3);
    case 'f8e5m2':
      return toSmallFloat(x, f8e5m2);
    default:
      return x;
  }
}
