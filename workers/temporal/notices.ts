/** What of the SDK's log is worth a line to whoever started the process. */
import type { LogEntry } from '@temporalio/worker';
import { ownPool, ownQueue, stepsQueue } from '../../contracts/index.js';

/** A warning or an error of the SDK as a line; null for what is no news. */
export function noticeOf({ level, message, meta }: LogEntry): string | null {
  // Said of queues that are for activities alone.
  if (message.startsWith('No workflows registered')) return null;
  // Said for every call of an outage; whoever follows the run hears of it once.
  if (/^gRPC call \S+ retried/.test(message)) return null;
  const error: unknown = meta?.error;
  if (isServedInPlace(meta) && isToldByFollowing(message, error, meta)) return null;
  return `temporal ${level}: ${message}${error instanceof Error ? `: ${error.message}` : ''}`;
}

/** Whether the entry is of a run that its own client serves, and therefore follows. */
function isServedInPlace(meta: LogEntry['meta']): boolean {
  const { workflowId, taskQueue } = meta ?? {};
  if (typeof workflowId !== 'string' || typeof taskQueue !== 'string') return false;
  const pool = ownPool(workflowId);
  return [ownQueue(workflowId), stepsQueue(pool)].includes(taskQueue) || taskQueue.startsWith(`${pool}.`);
}

/** How a run ends, and what became of its ranks, its follower says; that a step is tried again, nobody else does. */
function isToldByFollowing(message: string, error: unknown, meta: LogEntry['meta']): boolean {
  if (message === 'Workflow failed') return true;
  if (message !== 'Activity failed') return false;
  const endsTheRun = (error as { nonRetryable?: unknown } | null)?.nonRetryable === true;
  return endsTheRun || meta?.activityType === 'trainEpoch';
}
