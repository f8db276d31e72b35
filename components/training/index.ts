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
  placeOf,
  type Schedule,
  type StepPlace,
  savesAfter,
  stepsPerEpoch,
  totalSteps,
  validatesAfter,
} from './step_scheduler.js';
