/** The activities of the control worker. */
import { ActivityCancellationType, proxyActivities } from '@temporalio/workflow';
import type { ControlActivities } from '../../contracts/activities.js';

/** The run's budget decides which failures are retried, and after what pause. */
export const onlyOnce = { maximumAttempts: 1 };

/** On the task queue of the workflow itself. */
export const control = proxyActivities<ControlActivities>({
  startToCloseTimeout: '2 minutes',
  retry: onlyOnce,
  cancellationType: ActivityCancellationType.TRY_CANCEL,
});
