/** Step 5: the chosen commit → a Hugging Face folder, verified and published. */
import {
  type ConsolidateRequest,
  consolidateRequestSchema,
  type StepActivities,
} from '../contracts/index.js';
import { consolidate } from '../recipes/index.js';
import { runStep } from './step.js';

export const consolidateActivity: Pick<StepActivities, 'consolidate'> = {
  consolidate: (request: ConsolidateRequest) =>
    runStep((hooks) => {
      const { run, model, data, evaluation } = consolidateRequestSchema.parse(request);
      return consolidate(run, { model, data, evaluation }, hooks);
    }),
};
