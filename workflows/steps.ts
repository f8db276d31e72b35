/** The steps that any host of a pool can take: data, model, evaluation, publication. */
import { ActivityCancellationType, type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import type { StepActivities } from '../contracts/activities.js';
import { stepsQueue } from '../contracts/names.js';

/** What a failing service is given before the run fails; typed errors of the user's making are not retried at all. */
export const retry: NonNullable<ActivityOptions['retry']> = {
  initialInterval: '1 second',
  backoffCoefficient: 2,
  maximumInterval: '30 seconds',
  maximumAttempts: 10,
};

/** They are idempotent, and are simply run again when a host is lost. */
export function steps(pool: string, summary: string) {
  return proxyActivities<StepActivities>({
    taskQueue: stepsQueue(pool),
    summary,
    startToCloseTimeout: '7 days',
    heartbeatTimeout: '30 seconds',
    retry,
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  });
}
