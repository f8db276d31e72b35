/** Step 4: scores before and after, and the choice of the commit to publish. */
import {
  type EvaluateRequest,
  type Evaluation,
  evaluateRequestSchema,
  type StepActivities,
} from '../contracts/index.js';
import { evaluate } from '../recipes/index.js';
import { runStep } from './step.js';

export const evaluateActivity: Pick<StepActivities, 'evaluate'> = {
  evaluate: (request: EvaluateRequest): Promise<Evaluation> =>
    runStep((hooks) => {
      const { run, model, data } = evaluateRequestSchema.parse(request);
      return evaluate(run, { model, data }, hooks);
    }),
};
