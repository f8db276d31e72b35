/** The graph as an ONNX model: lowering op by op, and the bytes of the file. */
export { lowerToOnnx, type OnnxOptions } from './lower.js';
export type { OnnxInitializer, OnnxModel, OnnxSlot, OnnxTensor } from './model.js';
export { isLiteral } from './model.js';
export { type ExternalPlace, encodeOnnx, type OnnxPiece, pieceBytes, tensorBytes } from './proto.js';
export { type OnnxFloat, slots as onnxSlots } from './target.js';
