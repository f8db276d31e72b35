/**
 * The files of an exported model: `model.onnx` or `model_fp16.onnx` with graph and weights, or next to it `…onnx_data`
 * with the weights. They are made as streams; nothing is held in memory but a chunk of one tensor.
 */
import type { Model } from '../../../components/models/index.js';
import {
  type DType,
  type ExternalData,
  encodeOnnx,
  isLiteral,
  type LoraOptions,
  lowerToOnnx,
  type OnnxModel,
  type OnnxTensor,
  pieceBytes,
  tensorBytes,
} from '../../../graph/index.js';
import { ModelError } from '../../../shared/errors.js';
import type { SafetensorsSource } from '../../../shared/safetensors/safetensors.js';
import { type TensorReader, tensorReader } from './onnx_tensors.js';

export type OnnxPrecision = 'fp32' | 'fp16';

export interface OnnxExport {
  model: Model;
  /** Every weight of the model, in whatever dtype. */
  tensors: readonly SafetensorsSource[];
  /** Precision of weights, activations and cache; logits are float32 in both. */
  precision: OnnxPrecision;
  /** An adapter whose A and B are to be inputs of the model, by parameter name; null (as left out) for none. */
  adapterInputs?: LoraOptions | null;
  /** Weights beyond these bytes go into a file of their own; protobuf ends at 2 GiB. */
  inlineBytes?: number;
}

/** A file to write: its name within `onnx/`, its length, and its bytes as often as they are wanted. */
export interface OnnxFile {
  name: string;
  bytes: number;
  content(): AsyncGenerator<Uint8Array>;
}

/** Rows of the RoPE tables at most; a model of a longer context is exported for this one. */
const longestContext = 131_072;

/**
 * ONNX Runtime maps a file of weights, but parses a model and copies what is in it: SmolLM2-135M in float32 opens in half
 * the time (1.3 s for 2.7 s) and with 160 MB less at the peak when its weights lie apart. Small models stay one file.
 */
const defaultInlineBytes = 2 ** 27;

/** Tensors of this many bytes and more may lie outside; their offsets are multiples of a page, so that they can be mapped. */
const externalBytes = 1024;
const page = 4096;

export const onnxContext = (model: Model): number => Math.min(model.maxPositions, longestContext);

export const onnxStem = (precision: OnnxPrecision): string => (precision === 'fp32' ? 'model' : 'model_fp16');

/** Returns the files of a model, weights first: with its last file in place a model is complete. */
export function onnxFiles(options: OnnxExport): OnnxFile[] {
  const { model, tensors, precision } = options;
  const positions = onnxContext(model);
  const dtypes = new Map(tensors.map(({ name }) => [name, 'f32' as DType]));
  const onnx = lowerToOnnx(model.forward({ tokens: 1, positions, dtypes }), {
    float: precision === 'fp32' ? 'f32' : 'f16',
    adapter: options.adapterInputs ?? null,
  });
  const read = tensorReader(model, positions, tensors);
  const name = `${onnxStem(precision)}.onnx`;
  const { external, bytes } = moveOutside(onnx, `${name}_data`, options.inlineBytes ?? defaultInlineBytes);
  const pieces = encodeOnnx(onnx, 'temper', (tensor) => external.get(tensor) ?? null);
  const file: OnnxFile = {
    name,
    bytes: pieces.reduce((sum, piece) => sum + pieceBytes(piece), 0),
    async *content() {
      for (const piece of pieces) {
        if (piece instanceof Uint8Array) yield piece;
        else yield* exactly(piece, read);
      }
    },
  };
  if (external.size === 0) return [file];
  return [{ name: `${name}_data`, bytes, content: () => externalData(external, read) }, file];
}

/** Lays the larger tensors out in the file `location`; none when all of them fit into the model. */
function moveOutside(
  onnx: OnnxModel,
  location: string,
  inlineBytes: number,
): { external: Map<OnnxTensor, ExternalData>; bytes: number } {
  const tensors = onnx.initializers.filter((tensor): tensor is OnnxTensor => !isLiteral(tensor));
  const external = new Map<OnnxTensor, ExternalData>();
  const total = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  let bytes = 0;
  if (total <= inlineBytes) return { external, bytes };
  for (const tensor of tensors) {
    const length = tensorBytes(tensor);
    if (length < externalBytes) continue;
    const offset = Math.ceil(bytes / page) * page;
    external.set(tensor, { location, offset, length });
    bytes = offset + length;
  }
  return { external, bytes };
}

async function* externalData(
  external: ReadonlyMap<OnnxTensor, ExternalData>,
  read: TensorReader,
): AsyncGenerator<Uint8Array> {
  let position = 0;
  for (const [tensor, { offset, length }] of external) {
    if (offset > position) yield new Uint8Array(offset - position);
    yield* exactly(tensor, read);
    position = offset + length;
  }
}

/** Yields a tensor's bytes, as many as its shape says. */
async function* exactly(tensor: OnnxTensor, read: TensorReader): AsyncGenerator<Uint8Array> {
  const expected = tensorBytes(tensor);
  let bytes = 0;
  for await (const chunk of read(tensor)) {
    bytes += chunk.length;
    if (bytes > expected) break;
    yield chunk;
  }
  if (bytes !== expected) {
    const count = bytes > expected ? 'more' : String(bytes);
    throw new ModelError(`tensor '${tensor.source}' takes ${expected} bytes, but its source gave ${count}`);
  }
}
