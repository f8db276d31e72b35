/** The blocks that a model family is written with. */
export type { AttentionGeometry, ForwardOptions, Model, ModelFamily } from './family.js';
export { ModelWriter } from './model_writer.js';
export { type TextConfig, textConfig } from './text_config.js';
export { textFamily } from './text_family.js';
