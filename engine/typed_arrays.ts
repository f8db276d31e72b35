/** Tensors as JavaScript has them: numbers, and floats of 16 and 8 bits as their bits. */
import type { DType } from '../graph/index.js';
import { dtypeBytes } from '../graph/index.js';
import { EngineError } from '../shared/errors.js';

export type TensorData = Float32Array | Float64Array | Int32Array | Uint16Array | Uint8Array | Int8Array;

const arrayOf = {
  f32: Float32Array,
  f64: Float64Array,
  bf16: Uint16Array,
  f16: Uint16Array,
  f8e4m3: Uint8Array,
  f8e5m2: Uint8Array,
  i32: Int32Array,
  u8: Uint8Array,
  i8: Int8Array,
} as const;

/** A buffer's contents in the array type of `dtype`, without a copy. */
export function typedArray(dtype: DType, buffer: ArrayBuffer): TensorData {
  return new arrayOf[dtype](buffer);
}

/**
 * The bytes of `data`, without a copy. Throws EngineError unless it is the array type of `dtype`, or a Uint8Array of
 * whole elements.
 */
export function bytesOf(what: string, dtype: DType, data: TensorData | Uint8Array): Uint8Array {
  if (data instanceof Uint8Array) {
    if (data.byteLength % dtypeBytes[dtype] !== 0) {
      throw new EngineError(`${what}: ${data.byteLength} bytes is not a whole number of ${dtype} values`);
    }
    return data;
  }
  if (!(data instanceof arrayOf[dtype])) {
    throw new EngineError(`${what} is ${dtype}: expected a ${arrayOf[dtype].name}`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
