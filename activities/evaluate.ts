/** Step 4: tasks on the model before and after, and on the commit of each epoch; the choice of the commit to publish. */
import {
  type EvaluateEpochRequest,
  type EvaluateRequest,
  evaluateEpochRequestSchema,
  evaluateRequestSchema,
  type StepActivities,
} from '../contracts/index.js';
import { runStep, type StepRunner } from './step.js';

export function createEvaluate(compute: StepRunner): Pick<StepActivities, 'evaluate' | 'evaluateEpoch'> {
  return {
    evaluateEpoch: (request: EvaluateEpochRequest) =>
      runStep((hooks) => compute('evaluateEpoch', evaluateEpochRequestSchema.parse(request), hooks)),
    evaluate: (request: EvaluateRequest) =>
      runStep((hooks) => compute('evaluate', evaluateRequestSchema.parse(request), hooks)),
  };
}
