/**
 * An ONNX model as data: what `onnx.proto` calls ModelProto, without its messages' rarely used fields. `proto.ts` gives it
 * its bytes. Weights are only named here; their bytes come when the file is written.
 */

/** TensorProto.DataType of the element types in use. */
export const onnxDType = { f32: 1, i32: 6, i64: 7, bool: 9, f16: 10 } as const;

export type OnnxDType = keyof typeof onnxDType;

/** A node's attribute; the key says which field of AttributeProto holds it. */
export type OnnxAttr =
  | { readonly i: number }
  | { readonly f: number }
  | { readonly s: string }
  | { readonly ints: readonly number[] };

export interface OnnxNode {
  readonly name: string;
  readonly op: string;
  /** Names of values; '' for an optional input that is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attrs: Readonly<Record<string, OnnxAttr>>;
}

/** An input or output of the graph; a dimension is a size or a name, such as `batch_size`. */
export interface OnnxSlot {
  readonly name: string;
  readonly dtype: OnnxDType;
  readonly dims: readonly (number | string)[];
}

/** A tensor that the file holds: a literal, or one that is read from elsewhere when the file is written. */
export type OnnxInitializer = OnnxLiteral | OnnxTensor;

export interface OnnxLiteral {
  readonly name: string;
  readonly dtype: OnnxDType;
  readonly shape: readonly number[];
  /** Little-endian values. */
  readonly data: Uint8Array;
}

export interface OnnxTensor {
  readonly name: string;
  readonly dtype: 'f32' | 'f16';
  readonly shape: readonly number[];
  /** A value of the graph: a parameter by its Hugging Face name, or a constant (`const:rope`). */
  readonly source: string;
  /** Of the source [rows, width], these columns alone, `[from, to)`; null for all of it. */
  readonly columns: readonly [from: number, to: number] | null;
}

export interface OnnxModel {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly inputs: readonly OnnxSlot[];
  readonly outputs: readonly OnnxSlot[];
  readonly initializers: readonly OnnxInitializer[];
}

export const onnxBytes: Readonly<Record<OnnxDType, number>> = { f32: 4, i32: 4, i64: 8, bool: 1, f16: 2 };

export const isLiteral = (tensor: OnnxInitializer): tensor is OnnxLiteral => 'data' in tensor;
