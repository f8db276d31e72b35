/** Step 2: the model's name → verified weights in storage, and a forecast of the memory that training takes. */
import {
  type RunReference,
  runReferenceSchema,
  type ShardedModel,
  type StepActivities,
} from '../contracts/index.js';
import { shardModel } from '../recipes/index.js';
import { runStep } from './step.js';

export const shardModelActivity: Pick<StepActivities, 'shardModel'> = {
  shardModel: (run: RunReference): Promise<ShardedModel> =>
    runStep((hooks) => shardModel(runReferenceSchema.parse(run), hooks)),
};
