export { assembleMicroBatch, type MicroBatch } from './batch.js';
export { type Document, ignored } from './document.js';
export { EpochOrder } from './order.js';
export {
  findPrepared,
  type PreparedPacks,
  type PrepareOptions,
  type PrepareProgress,
  prepareData,
} from './prepare.js';
export { type Preview, type PreviewOptions, previewDataset } from './preview.js';
export { LocalPackFolder, type NumberedPack, type PackFolder, PackReader } from './reader.js';
export { datasetDefinitions, registerDataset } from './registry.js';
export {
  type DataOptions,
  type Dataset,
  dataSchema,
  type MixtureDataset,
  type SingleDataset,
  validationSets,
} from './schema.js';
export { readFileRows } from './sources/read.js';
export {
  buildTokenizer,
  type Encoding,
  type Message,
  type Tokenizer,
  type TokenizerSource,
} from './tokenizer.js';
export { type DatasetContext, type DatasetDefinition, RowError } from './types/definition.js';
