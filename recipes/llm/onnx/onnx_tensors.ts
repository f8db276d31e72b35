/** The bytes of an ONNX file's tensors, converted on their way from where the weights lie; a chunk at a time. */
import type { Model } from '../../../components/models/index.js';
import { constantTensor, type OnnxTensor } from '../../../graph/index.js';
import { ModelError } from '../../../shared/errors.js';
import { fromFloat32, toFloat32 } from '../../../shared/safetensors/floats.js';
import {
  type SafetensorsDType,
  type SafetensorsSource,
  safetensorsDTypeBytes,
} from '../../../shared/safetensors/safetensors.js';

export type TensorReader = (tensor: OnnxTensor) => AsyncGenerator<Uint8Array>;

const dtypes = { f32: 'F32', f16: 'F16' } as const;

/**
 * Reads parameters from `sources` by name, and constants from the model.
 * @throws ModelError for what neither has
 */
export function tensorReader(
  model: Model,
  positions: number,
  sources: readonly SafetensorsSource[],
): TensorReader {
  const byName = new Map(sources.map((source) => [source.name, source]));
  const constants = new Map(
    [...model.constants(positions)].map(([key, constant]) => [constantTensor(key), constant]),
  );
  return async function* read(tensor) {
    const dtype = dtypes[tensor.dtype];
    const constant = constants.get(tensor.source);
    if (constant !== undefined) {
      yield fromFloat32(sliceColumns(constant.data, constant.shape, tensor.columns), dtype);
      return;
    }
    const source = byName.get(tensor.source);
    if (source === undefined)
      throw new ModelError(`ONNX: the weights have no tensor '${tensor.source}', which the model reads`);
    if (source.shape.join() !== tensor.shape.join())
      throw new ModelError(`ONNX: tensor '${source.name}' is [${source.shape}] instead of [${tensor.shape}]`);
    yield* converted(source, dtype);
  };
}

function sliceColumns(
  data: Float32Array,
  shape: readonly number[],
  columns: readonly [number, number] | null,
): Float32Array {
  if (columns === null) return data;
  const [from, to] = columns;
  const [rows, width] = shape as [number, number];
  const part = new Float32Array(rows * (to - from));
  for (let row = 0; row < rows; row++)
    part.set(data.subarray(row * width + from, row * width + to), row * (to - from));
  return part;
}

/** Chunks need not end where an element does: the rest waits for the next. */
async function* converted(source: SafetensorsSource, dtype: 'F32' | 'F16'): AsyncGenerator<Uint8Array> {
  const size = safetensorsDTypeBytes(source.dtype);
  let rest: Uint8Array = new Uint8Array(0);
  for await (const chunk of source.chunks()) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const alignedBytes = bytes.length - (bytes.length % size);
    rest = bytes.subarray(alignedBytes);
    if (alignedBytes > 0) yield convert(bytes.subarray(0, alignedBytes), source, dtype);
  }
}

function convert(bytes: Uint8Array, source: SafetensorsSource, dtype: SafetensorsDType): Uint8Array {
  if (source.dtype === dtype) return bytes;
  const values = toFloat32(bytes, source.dtype);
  const overflowing = dtype === 'F16' ? values.find((value) => Math.abs(value) >= 65520) : undefined;
  if (overflowing !== undefined) {
    throw new ModelError(
      `tensor '${source.name}' holds ${overflowing}, which float16 cannot express: export this model as fp32`,
    );
  }
  return fromFloat32(values, dtype);
}
