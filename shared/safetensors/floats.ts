/** float32 and the two 16-bit floats of weight files, converted in bulk on the host. */
import { ModelError } from '../errors.js';
import type { SafetensorsDType } from './safetensors.js';

const scratch = new ArrayBuffer(4);
const scratchFloat = new Float32Array(scratch);
const scratchBits = new Uint32Array(scratch);

/** Converts a file's little-endian values (F32, BF16 or F16) to float32, exactly. */
export function toFloat32(bytes: Uint8Array, dtype: SafetensorsDType): Float32Array {
  // Aligned, which a view into a file's or a pool's bytes need not be; `slice` of a Buffer would be a view again.
  const copy = new Uint8Array(bytes).buffer;
  if (dtype === 'F32') return new Float32Array(copy);
  if (dtype === 'BF16') {
    const half = new Uint16Array(copy);
    const bits = new Uint32Array(half.length);
    for (let i = 0; i < half.length; i++) bits[i] = half[i]! << 16;
    return new Float32Array(bits.buffer);
  }
  if (dtype === 'F16') return Float32Array.from(new Uint16Array(copy), halfToNumber);
  throw new ModelError(`${dtype} values cannot be read as float32`);
}

/** Converts float32 values to a file's bytes (F32, BF16 or F16), rounded to nearest even. */
export function fromFloat32(values: Float32Array, dtype: SafetensorsDType): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(values.slice().buffer);
  const half = new Uint16Array(values.length);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  if (dtype === 'BF16') {
    for (let i = 0; i < half.length; i++) half[i] = bitsToBfloat16(bits[i]!);
  } else if (dtype === 'F16') {
    for (let i = 0; i < half.length; i++) half[i] = bitsToHalf(bits[i]!);
  } else throw new ModelError(`float32 values cannot be written as ${dtype}`);
  return new Uint8Array(half.buffer);
}

function bitsToBfloat16(bits: number): number {
  const notANumber = (bits & 0x7fffffff) > 0x7f800000;
  return notANumber ? (bits >>> 16) | 0x40 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Returns the value of an IEEE 754 binary16. */
export function halfToNumber(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Returns the nearest IEEE 754 binary16, ties to even. */
export function numberToHalf(value: number): number {
  scratchFloat[0] = value;
  return bitsToHalf(scratchBits[0]!);
}

function bitsToHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // from 65520 on
  if (magnitude >= 0x38800000) {
    // A fraction that rounds up carries into the exponent by itself.
    const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
    return sign | ((rounded - 0x38000000) >>> 13);
  }
  // Below 2⁻¹⁴: multiples of 2⁻²⁴.
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return sign;
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const half = significand >>> shift;
  const rest = significand & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (half + (rest > middle || (rest === middle && (half & 1) === 1) ? 1 : 0));
}
