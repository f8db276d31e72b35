/** After step 5, or after whatever ended the run: writes the end into the run's folder. */
import { type ControlActivities, type FinishRequest, finishRequestSchema } from '../contracts/index.js';
import { finish } from '../recipes/index.js';
import { runBriefly } from './step.js';

export const finishActivity: Pick<ControlActivities, 'finish'> = {
  finish: (request: FinishRequest): Promise<void> =>
    runBriefly(async () => {
      const { run, claim, end } = finishRequestSchema.parse(request);
      await finish(run, claim, end);
    }),
};
