/** Step 1: data → packed shards in storage, found again by their digest. */
import {
  type PreparedData,
  type RunReference,
  runReferenceSchema,
  type StepActivities,
} from '../contracts/index.js';
import { prepareData } from '../recipes/index.js';
import { runStep } from './step.js';

export const prepareDataActivity: Pick<StepActivities, 'prepareData'> = {
  prepareData: (run: RunReference): Promise<PreparedData> =>
    runStep((hooks) => prepareData(runReferenceSchema.parse(run), hooks)),
};
