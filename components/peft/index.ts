export { loraScale } from '../../graph/index.js';
/** Parameter-efficient fine-tuning: LoRA's options, parameters, folders and merging. The graph pass is graph/passes/lora.ts. */
export {
  type Adapter,
  type AdapterConfigInput,
  adapterConfig,
  adapterTensorKey,
  checkInitFrom,
  readAdapter,
  readAdapterTensor,
} from './adapter.js';
export { type MergeInput, mergedWeight } from './merge.js';
export {
  type AdapterParameter,
  adapterInit,
  adapterParameters,
} from './parameters.js';
export { type PeftOptions, peftSchema } from './schema.js';
export { matchTargetModules } from './target_modules.js';
