export { shouldStop, updateBest } from './early_stopping.js';
export { guardFinite } from './guard.js';
export {
  type ActivationCheckpointing,
  activationCheckpointingSchema,
  type EarlyStopping,
  earlyStoppingSchema,
  loopKeys,
  type Precision,
  precisionSchema,
} from './schema.js';
export {
  type Schedule,
  type StepPosition,
  savesAfter,
  stepPosition,
  stepsPerEpoch,
  totalSteps,
  validatesAfter,
} from './step_scheduler.js';
