/** Step 2: the model's name → verified weights in storage, and a forecast of the memory that training takes. */
import { type RunReference, runReferenceSchema, type StepActivities } from '../contracts/index.js';
import { runStep, type StepRunner } from './step.js';

export function createShardModel(compute: StepRunner): Pick<StepActivities, 'shardModel'> {
  return {
    shardModel: (run: RunReference) =>
      runStep((hooks) => compute('shardModel', runReferenceSchema.parse(run), hooks)),
  };
}
