/**
 * The bytes of an ONNX model (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): the few messages that are written
 * here, by field number. Weights are not in them: each goes where `Placed` says, inline between two pieces of the message
 * or into a file of its own.
 */
import protobuf from 'protobufjs/minimal.js';
import type { OnnxAttr, OnnxInitializer, OnnxModel, OnnxNode, OnnxSlot, OnnxTensor } from './model.js';
import { isLiteral, onnxBytes, onnxDType } from './model.js';

/** IR version 10 goes with opset 23, and every ONNX Runtime that has the opset reads it. */
const irVersion = 10;
const opset = 23;

const model = { irVersion: 1, producerName: 2, graph: 7, opsetImport: 8 } as const;
const graphField = { node: 1, name: 2, initializer: 5, input: 11, output: 12 } as const;
const nodeField = { input: 1, output: 2, name: 3, opType: 4, attribute: 5 } as const;
const attribute = { name: 1, f: 2, i: 3, s: 4, ints: 8, type: 20 } as const;
const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;
const tensorField = {
  dims: 1,
  dataType: 2,
  name: 8,
  rawData: 9,
  externalData: 13,
  dataLocation: 14,
} as const;
const external = 1;
const tensorType = { elemType: 1, shape: 2 } as const;
const dimension = { value: 1, param: 2 } as const;

/** Wire types of protobuf. */
const varint = 0;
const bytes = 2;
const fixed32 = 5;
const tag = (field: number, wire: number): number => (field << 3) | wire;

/** The range of a file next to the model that holds a tensor's bytes. */
export interface ExternalData {
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** A piece of the file: bytes, or a tensor whose bytes belong there. */
export type OnnxPiece = Uint8Array | OnnxTensor;

export const tensorBytes = (tensor: OnnxTensor): number =>
  tensor.shape.reduce((product, size) => product * size, onnxBytes[tensor.dtype]);

/** Returns the file of a model, in order. `findExternal` returns null for a tensor that is stored inline. */
export function encodeOnnx(
  onnx: OnnxModel,
  producer: string,
  findExternal: (tensor: OnnxTensor) => ExternalData | null,
): OnnxPiece[] {
  const body: OnnxPiece[] = [encodeStructure(onnx)];
  for (const tensor of onnx.initializers) body.push(...encodeInitializer(tensor, findExternal));
  const length = body.reduce((sum, piece) => sum + pieceBytes(piece), 0);
  const head = new protobuf.Writer();
  head.uint32(tag(model.irVersion, varint)).int64(irVersion);
  head.uint32(tag(model.producerName, bytes)).string(producer);
  const imported = new protobuf.Writer().uint32(tag(1, bytes)).string('').uint32(tag(2, varint)).int64(opset);
  head.uint32(tag(model.opsetImport, bytes)).bytes(imported.finish());
  // The graph last, so that its length is all that must be known of what follows.
  head.uint32(tag(model.graph, bytes)).uint64(length);
  return [head.finish(), ...body];
}

export const pieceBytes = (piece: OnnxPiece): number =>
  piece instanceof Uint8Array ? piece.length : tensorBytes(piece);

/** Everything of the graph but its initializers. */
function encodeStructure({ name, nodes, inputs, outputs }: OnnxModel): Uint8Array {
  const writer = new protobuf.Writer();
  for (const node of nodes) writer.uint32(tag(graphField.node, bytes)).bytes(encodeNode(node));
  writer.uint32(tag(graphField.name, bytes)).string(name);
  for (const slot of inputs) writer.uint32(tag(graphField.input, bytes)).bytes(encodeSlot(slot));
  for (const slot of outputs) writer.uint32(tag(graphField.output, bytes)).bytes(encodeSlot(slot));
  return writer.finish();
}

function encodeNode({ name, op, inputs, outputs, attrs }: OnnxNode): Uint8Array {
  const writer = new protobuf.Writer();
  for (const input of inputs) writer.uint32(tag(nodeField.input, bytes)).string(input);
  for (const output of outputs) writer.uint32(tag(nodeField.output, bytes)).string(output);
  writer.uint32(tag(nodeField.name, bytes)).string(name);
  writer.uint32(tag(nodeField.opType, bytes)).string(op);
  for (const [key, value] of Object.entries(attrs))
    writer.uint32(tag(nodeField.attribute, bytes)).bytes(encodeAttribute(key, value));
  return writer.finish();
}

function encodeAttribute(name: string, value: OnnxAttr): Uint8Array {
  const writer = new protobuf.Writer().uint32(tag(attribute.name, bytes)).string(name);
  if ('f' in value) {
    writer.uint32(tag(attribute.f, fixed32)).float(value.f);
    return writer.uint32(tag(attribute.type, varint)).int32(attributeType.float).finish();
  }
  if ('i' in value) {
    writer.uint32(tag(attribute.i, varint)).int64(value.i);
    return writer.uint32(tag(attribute.type, varint)).int32(attributeType.int).finish();
  }
  if ('s' in value) {
    writer.uint32(tag(attribute.s, bytes)).string(value.s);
    return writer.uint32(tag(attribute.type, varint)).int32(attributeType.string).finish();
  }
  for (const item of value.ints) writer.uint32(tag(attribute.ints, varint)).int64(item);
  return writer.uint32(tag(attribute.type, varint)).int32(attributeType.ints).finish();
}

/** A ValueInfoProto of a tensor type. */
function encodeSlot({ name, dtype, dims }: OnnxSlot): Uint8Array {
  const shape = new protobuf.Writer();
  for (const dim of dims) {
    const writer = new protobuf.Writer();
    if (typeof dim === 'number') writer.uint32(tag(dimension.value, varint)).int64(dim);
    else writer.uint32(tag(dimension.param, bytes)).string(dim);
    shape.uint32(tag(1, bytes)).bytes(writer.finish());
  }
  const tensor = new protobuf.Writer().uint32(tag(tensorType.elemType, varint)).int32(onnxDType[dtype]);
  tensor.uint32(tag(tensorType.shape, bytes)).bytes(shape.finish());
  const type = new protobuf.Writer().uint32(tag(1, bytes)).bytes(tensor.finish());
  return new protobuf.Writer()
    .uint32(tag(1, bytes))
    .string(name)
    .uint32(tag(2, bytes))
    .bytes(type.finish())
    .finish();
}

/** A TensorProto as a field of the graph; `raw_data` is its last field, so an inline tensor's bytes end it. */
function encodeInitializer(
  tensor: OnnxInitializer,
  findExternal: (tensor: OnnxTensor) => ExternalData | null,
): OnnxPiece[] {
  const writer = new protobuf.Writer();
  for (const size of tensor.shape) writer.uint32(tag(tensorField.dims, varint)).int64(size);
  writer.uint32(tag(tensorField.dataType, varint)).int32(onnxDType[tensor.dtype]);
  writer.uint32(tag(tensorField.name, bytes)).string(tensor.name);
  const outer = new protobuf.Writer().uint32(tag(graphField.initializer, bytes));
  if (isLiteral(tensor)) {
    writer.uint32(tag(tensorField.rawData, bytes)).bytes(tensor.data);
    return [outer.bytes(writer.finish()).finish()];
  }
  const externalData = findExternal(tensor);
  if (externalData !== null) {
    for (const [key, value] of Object.entries(externalData)) {
      const entry = new protobuf.Writer().uint32(tag(1, bytes)).string(key);
      entry.uint32(tag(2, bytes)).string(String(value));
      writer.uint32(tag(tensorField.externalData, bytes)).bytes(entry.finish());
    }
    writer.uint32(tag(tensorField.dataLocation, varint)).int32(external);
    return [outer.bytes(writer.finish()).finish()];
  }
  const size = tensorBytes(tensor);
  const description = writer.uint32(tag(tensorField.rawData, bytes)).uint64(size).finish();
  return [concat(outer.uint64(description.length + size).finish(), description), tensor];
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}
