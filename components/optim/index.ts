export { decay, type Optimizer, type OptimizerDefinition } from './definition.js';
export { learningRate } from './learning_rate.js';
export { type LrScheduler, lrSchedulerSchema } from './learning_rate_schema.js';
export {
  optimizerDefinitions,
  optimizerInputs,
  optimizerSchema,
  optimizerSpec,
  registerOptimizer,
} from './registry.js';
