/** Step 5: the chosen commit → a Hugging Face folder, verified and published. */
import {
  type ConsolidateRequest,
  consolidateRequestSchema,
  type StepActivities,
} from '../contracts/index.js';
import { runStep, type StepRunner } from './step.js';

export function createConsolidate(compute: StepRunner): Pick<StepActivities, 'consolidate'> {
  return {
    consolidate: (request: ConsolidateRequest) =>
      runStep((hooks) => compute('consolidate', consolidateRequestSchema.parse(request), hooks)),
  };
}
