/** Step 1: data → packs in storage, found again by their digest. */
import { type RunReference, runReferenceSchema, type StepActivities } from '../contracts/index.js';
import { runStep, type StepRunner } from './step.js';

export function createPrepareData(compute: StepRunner): Pick<StepActivities, 'prepareData'> {
  return {
    prepareData: (run: RunReference) =>
      runStep((hooks) => compute('prepareData', runReferenceSchema.parse(run), hooks)),
  };
}
