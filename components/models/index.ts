/** Models: configs, weights, tokenizers, and where they come from. */
export type { ExpectedTensor, ForwardOptions, GgufTensorRule, Model, ModelFamily } from './blocks/family.js';
export { type Rope, ropeFrequencies, ropeTable } from './blocks/rope.js';
export { type GenaiOptions, genaiConfig } from './genai_config.js';
export { convertGguf, type DequantizedDType } from './gguf/convert.js';
export { type GgufFile, parseGguf } from './gguf/parse.js';
export { tokenizerFromGguf } from './gguf/tokenizer.js';
export {
  familyOfGguf,
  knownArchitectures,
  modelFromConfig,
  openModel,
  registerModelFamily,
} from './registry.js';
export {
  defaultCache,
  type ModelSource,
  oncePerState,
  type ResolvedModel,
  type ResolveOptions,
  type ResolveProgress,
  rememberedDigest,
  resolveModel,
} from './resolve.js';
export { type ModelOptions, modelSchema } from './schema.js';
export type { ChatTemplateOptions } from './tokenizer/chat_template.js';
export {
  type EncodeOptions,
  type Encoding,
  loadTokenizer,
  ModelTokenizer,
  tokenizerDigest,
} from './tokenizer/tokenizer.js';
export {
  checkFinite,
  type FirstNonFinite,
  locateWeights,
  type Weight,
  type Weights,
  weightDTypes,
} from './weights.js';
