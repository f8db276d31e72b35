/** What the activities and the ranks call: the steps of a run. */
export { admit, type AdmitInfo } from './base/admit.js';
export { finish, type RunEnd } from './base/finish.js';
export type { StepHooks } from './base/hooks.js';
export { takeGeneration } from './base/generation.js';
export { consolidate, type Consolidated, type ConsolidateInput } from './llm/consolidate.js';
export { evaluate, type EvaluateInput } from './llm/evaluate.js';
export { prepareData } from './llm/prepare_data.js';
export { shardModel } from './llm/shard_model.js';
export { createTrainer, type Trainer } from './llm/trainer.js';
