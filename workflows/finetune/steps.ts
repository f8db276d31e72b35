/** The activities that are simply run again: they are idempotent, and find what an earlier try has done. */
import { ActivityCancellationType, proxyActivities, sleep } from '@temporalio/workflow';
import type { StepActivities } from '../../contracts/activities.js';
import { stepsQueue } from '../../contracts/names.js';
import { newBudget, noteCrash, pauseUncounted, spend } from './budget.js';
import { onlyOnce } from './control_activities.js';
import { classifyFailure } from './failures.js';
import type { Run } from './run.js';

/** Runs a step that any host of a pool can take: data, model, evaluation, publication. */
export function runStep<T>(
  run: Run,
  summary: string,
  call: (activities: StepActivities) => Promise<T>,
): Promise<T> {
  const activities = proxyActivities<StepActivities>({
    taskQueue: stepsQueue(run.admitted.pool),
    summary,
    startToCloseTimeout: '7 days',
    heartbeatTimeout: '30 seconds',
    retry: onlyOnce,
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  });
  return persist(run, () => call(activities));
}

/** Calls an activity until it succeeds or its failure ends the run. */
export async function persist<T>(run: Run, call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      const result = await call();
      run.state.budget = newBudget();
      return result;
    } catch (error) {
      await survive(run, error);
    }
  }
}

/** Pauses before the next try; throws what ends the run. */
export async function survive(run: Run, error: unknown): Promise<void> {
  const failure = classifyFailure(error);
  const { budget } = run.state;
  const { detail } = failure;
  switch (failure.kind) {
    case 'fatal':
      throw error;
    case 'avoided':
      budget.refusals += 1;
      return await sleep(1000);
    case 'no_slot':
      return await sleep(Math.min(10_000, pauseUncounted(budget) || 1000));
    case 'preempted':
    case 'host_lost':
      run.record(failure.kind, detail);
      return await sleep(pauseUncounted(budget) || 1);
    case 'crashed':
      noteCrash(budget, failure.crash);
      run.record('error_retried', detail);
      return;
    case 'error': {
      const pause = spend(budget, failure.cause);
      if (pause === null) throw error;
      run.record('error_retried', detail);
      return await sleep(pause);
    }
  }
}
