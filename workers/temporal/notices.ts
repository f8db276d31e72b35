/** Selects the entries of the SDK's log that are shown to the user who started the process. */
import type { LogEntry } from '@temporalio/worker';
import { ownPool, ownQueue, stepsQueue } from '../../contracts/index.js';

/** Returns a warning or an error of the SDK as a line; null for one that says nothing new. */
export function formatNotice({ level, message, meta }: LogEntry): string | null {
  // Logged for queues that serve only activities.
  if (message.startsWith('No workflows registered')) return null;
  // Logged for every call of an outage; a follower of the run shows it once.
  if (/^gRPC call \S+ retried/.test(message)) return null;
  const error: unknown = meta?.error;
  if (isServedInPlace(meta) && isShownByFollower(message, error, meta)) return null;
  return `temporal ${level}: ${message}${error instanceof Error ? `: ${error.message}` : ''}`;
}

/** Returns whether the entry is of a run that its own client serves, and therefore follows. */
function isServedInPlace(meta: LogEntry['meta']): boolean {
  const { workflowId, taskQueue } = meta ?? {};
  if (typeof workflowId !== 'string' || typeof taskQueue !== 'string') return false;
  const pool = ownPool(workflowId);
  return [ownQueue(workflowId), stepsQueue(pool)].includes(taskQueue) || taskQueue.startsWith(`${pool}.`);
}

/** Returns whether the run's follower shows it: the end of the run and of its ranks, but not that a step is retried. */
function isShownByFollower(message: string, error: unknown, meta: LogEntry['meta']): boolean {
  if (message === 'Workflow failed') return true;
  if (message !== 'Activity failed') return false;
  const endsTheRun = (error as { nonRetryable?: unknown } | null)?.nonRetryable === true;
  return endsTheRun || meta?.activityType === 'trainEpoch';
}
