export type { LossDefinition } from './definition.js';
export { type Loss, lossDefinitions, lossRule, registerLoss } from './registry.js';
export { lossSchema } from './schema.js';
