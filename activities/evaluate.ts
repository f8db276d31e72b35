/** Step 4: tasks on the model before and after, and on the commit of each epoch; the choice of the commit to publish. */
import {
  type EvaluateEpochRequest,
  type EvaluateRequest,
  evaluateEpochRequestSchema,
  evaluateRequestSchema,
  type StepActivities,
} from '../contracts/index.js';
import { evaluate, evaluateEpoch, type JobRunner } from '../recipes/index.js';
import { runStep } from './step.js';

/** @param runner computes tasks, in a process of its own */
export function createEvaluate(runner: JobRunner): Pick<StepActivities, 'evaluate' | 'evaluateEpoch'> {
  return {
    evaluateEpoch: (request: EvaluateEpochRequest) =>
      runStep((hooks) => {
        const { run, ...input } = evaluateEpochRequestSchema.parse(request);
        return evaluateEpoch(run, input, hooks, runner);
      }),
    evaluate: (request: EvaluateRequest) =>
      runStep((hooks) => {
        const { run, model, data } = evaluateRequestSchema.parse(request);
        return evaluate(run, { model, data }, hooks, runner);
      }),
  };
}
