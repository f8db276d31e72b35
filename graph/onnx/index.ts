/** An ONNX model as data, what ops write to, and the bytes of the file. The lowering is `passes/onnx.ts`. */
export type { OnnxInitializer, OnnxModel, OnnxSlot, OnnxTensor } from './model.js';
export { isLiteral } from './model.js';
export { type ExternalData, encodeOnnx, type OnnxPiece, pieceBytes, tensorBytes } from './proto.js';
export { type OnnxFloat, slots as onnxSlots } from './target.js';
