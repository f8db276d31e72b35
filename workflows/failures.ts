/** What the failure of a gang's activity means for the run. */
import { ActivityFailure, ApplicationFailure, isCancellation, TimeoutFailure } from '@temporalio/workflow';
import type { LossDetails } from '../contracts/activities.js';
import type { Progress } from '../contracts/gang.js';
import { failureTypes } from '../contracts/names.js';

export interface GangLoss {
  /**
   * `silent`: no heartbeat for a while, though the host may live; `unavailable`: a service is away,
   * and one waits for it; `fatal`: no new gang would do better.
   */
  kind: 'silent' | 'host_lost' | 'rank_lost' | 'unavailable' | 'error' | 'fatal';
  detail: string;
  progress: Progress | null;
  /** The last step known to be done, where it is newer than the progress. */
  step: number | null;
  /** ISO time of the last sign of life, where it is known. */
  aliveAt: string | null;
}

/** Classifies what `trainEpoch` threw. Rethrows cancellations and what is no activity's failure. */
export function classifyLoss(error: unknown): GangLoss {
  if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
  const { cause } = error;
  if (cause instanceof TimeoutFailure) {
    const progress = asProgress(cause.lastHeartbeatDetails);
    if (cause.timeoutType === 'HEARTBEAT') {
      return { kind: 'silent', detail: 'no heartbeat', progress, step: null, aliveAt: null };
    }
    return {
      kind: 'host_lost',
      detail: `no answer from the host (${cause.timeoutType})`,
      progress,
      step: null,
      aliveAt: null,
    };
  }
  if (!(cause instanceof ApplicationFailure)) {
    return {
      kind: 'error',
      detail: cause?.message ?? error.message,
      progress: null,
      step: null,
      aliveAt: null,
    };
  }
  const loss = asLossDetails(cause.details?.[0]);
  const found = {
    detail: cause.message,
    progress: loss?.progress ?? null,
    step: null,
    aliveAt: loss?.aliveAt ?? null,
  };
  if (cause.type === failureTypes.rankLost) return { kind: 'rank_lost', ...found };
  if (cause.type === failureTypes.hostLost || cause.type === failureTypes.leaseLost)
    return { kind: 'host_lost', ...found };
  if (cause.type === 'ServiceUnavailable') return { kind: 'unavailable', ...found };
  return { kind: cause.nonRetryable ? 'fatal' : 'error', ...found };
}

/**
 * The failure to end the workflow with: the innermost typed one, so that its type and whole message are what
 * `temporal workflow show` prints first. Cancellations stay cancellations.
 */
export function asWorkflowFailure(error: unknown): unknown {
  if (isCancellation(error)) return error;
  if (error instanceof ActivityFailure && error.cause instanceof ApplicationFailure) {
    const { message, type, details } = error.cause;
    return ApplicationFailure.create({
      message,
      ...(type == null ? {} : { type }),
      ...(details == null ? {} : { details }),
      nonRetryable: true,
    });
  }
  if (error instanceof ActivityFailure) {
    const cause = error.cause?.message ?? 'unknown cause';
    return ApplicationFailure.nonRetryable(
      `${error.activityType}: ${cause}`,
      'ActivityFailed',
      error.cause?.message,
    );
  }
  // Anything else thrown here would retry the workflow task for ever.
  return error instanceof ApplicationFailure
    ? error
    : ApplicationFailure.nonRetryable(String(error), 'WorkflowDefect');
}

/** One line for run.json. */
export function failureMessage(error: unknown): string {
  if (isCancellation(error)) return 'cancelled';
  return error instanceof Error ? error.message : String(error);
}

function asLossDetails(value: unknown): LossDetails | null {
  return typeof value === 'object' && value !== null && 'aliveAt' in value ? (value as LossDetails) : null;
}

function asProgress(value: unknown): Progress | null {
  return typeof value === 'object' && value !== null && 'committedStep' in value ? (value as Progress) : null;
}
