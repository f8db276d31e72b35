/** Writes the run's timeline into its folder, alongside the steps. */
import { Context } from '@temporalio/activity';
import {
  type ControlActivities,
  type RecordTimelineRequest,
  recordTimelineRequestSchema,
} from '../contracts/index.js';
import { recordTimeline } from '../recipes/index.js';
import { runBriefly } from './step.js';

export const recordTimelineActivity: Pick<ControlActivities, 'recordTimeline'> = {
  recordTimeline: (request: RecordTimelineRequest): Promise<number> =>
    runBriefly(() =>
      recordTimeline(
        recordTimelineRequestSchema.parse(request),
        Context.current().info.workflowExecution!.runId,
      ),
    ),
};
