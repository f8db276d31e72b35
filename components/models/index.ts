/** Models: configs, weights, tokenizers, and where they come from. */
export type { ExpectedTensor, ForwardOptions, GgufTensorRule, Model, ModelFamily } from './blocks/family.js';
export { type Rope, ropeFrequencies, ropeTable } from './blocks/rope.js';
export { convertGguf, type DequantizedDType } from './convert_gguf.js';
export { type GenaiOptions, genaiConfig } from './genai_config.js';
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
export {
  checkFinite,
  type FirstNonFinite,
  locateWeights,
  type Weight,
  type Weights,
  weightDTypes,
} from './weights.js';
