export type { Encoding, Message, Tokenizer } from '../../../shared/text.js';
export { type Document, ignored } from './documents/document.js';
export { buildTokenizer, type TokenizerSource } from './documents/tokenizer_source.js';
export { assembleMicroBatch, fillCausalSpans, type MicroBatch } from './packs/batch.js';
export { EpochOrder } from './packs/order.js';
export { LocalPackFolder, type NumberedPack, type PackFolder, PackReader } from './packs/reader.js';
export {
  findPrepared,
  type PreparedPacks,
  type PrepareOptions,
  prepareData,
} from './prepare.js';
export { type Preview, type PreviewOptions, previewDataset } from './preview.js';
export { readFileRows } from './sources/read.js';
export type { PrepareProgress } from './tokenize/tokenize_sources.js';
export {
  type DatasetContext,
  type DatasetDefinition,
  fileKeys,
  lengthKeys,
  linesOfFiles,
  RowError,
  requireColumn,
  requireRecord,
  requireTokenizer,
  toText,
} from './types/definition.js';
export { datasetDefinitions, registerDataset } from './types/registry.js';
export {
  type DataOptions,
  type Dataset,
  dataSchema,
  type MixtureDataset,
  type SingleDataset,
  validationSets,
} from './types/schema.js';
