export { learningRate } from './learning_rate.js';
export { type LrScheduler, lrSchedulerSchema } from './learning_rate_schema.js';
export { type Optimizer, optimizerInputs, optimizerSchema, optimizerSpec } from './registry.js';
