export { hyper } from './hyper.js';
export { learningRate } from './learning_rate.js';
export { type LrScheduler, lrSchedulerSchema, type Optimizer, optimizerSchema } from './schema.js';
