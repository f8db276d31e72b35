/** Classifies the failures of activities by what they mean for the run. */
import { ActivityFailure, ApplicationFailure, isCancellation, TimeoutFailure } from '@temporalio/workflow';
import type { CrashDetails, FailureDetails, LossDetails } from '../../contracts/activities.js';
import type { Progress } from '../../contracts/gang.js';
import { failureTypes } from '../../contracts/names.js';

/** A cause that has a budget: see `FailureDetails`. */
export type Cause = Exclude<FailureDetails['retry'], 'never'>;

/**
 * `preempted`, `host_lost`, `no_slot`, `avoided`: nobody is to blame; `crashed`: the process that computed the step;
 * `error`: another try may do better; `fatal`: none would.
 */
export type StepFailure =
  | { kind: 'preempted' | 'host_lost' | 'no_slot' | 'avoided' | 'fatal'; detail: string }
  | { kind: 'crashed'; detail: string; crash: CrashDetails }
  | { kind: 'error'; detail: string; cause: Cause };

export interface GangLoss {
  /**
   * `silent`: no heartbeat for a while, though the host may live; `peer_lost`: the rank itself is well, and misses another
   * one; `fatal`: no new gang would do better.
   */
  kind: 'silent' | 'host_lost' | 'rank_lost' | 'peer_lost' | 'error' | 'fatal';
  /** The reaction that an error calls for. */
  cause: Cause;
  detail: string;
  progress: Progress | null;
  /** The last step known to be done, where it is newer than the progress. */
  step: number | null;
  /** Seconds from the last sign of life to the notice, where one clock saw both. */
  silentFor: number | null;
  /** The end of a lost rank's process, e.g. `killed by SIGKILL`, when it is known. */
  ended: string | null;
}

/** Classifies what a step threw, or `acquire`. Rethrows cancellations and what is not an activity's failure. */
export function classifyFailure(error: unknown): StepFailure {
  if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
  const { cause } = error;
  if (cause instanceof TimeoutFailure) {
    return { kind: 'host_lost', detail: `no response from the host (${cause.timeoutType})` };
  }
  const detail = cause?.message ?? error.message;
  if (!(cause instanceof ApplicationFailure)) return { kind: 'error', cause: 'process', detail };
  switch (cause.type) {
    case failureTypes.hostLost:
    case failureTypes.leaseLost:
      return { kind: 'host_lost', detail };
    case failureTypes.workerShutdown:
      return { kind: 'preempted', detail: 'the host worker was shut down' };
    case failureTypes.noFreeSlot:
      return { kind: 'no_slot', detail };
    case failureTypes.hostAvoided:
      return { kind: 'avoided', detail };
    case failureTypes.processCrashed:
      return { kind: 'crashed', detail, crash: cause.details![0] as CrashDetails };
  }
  const retry = cause.nonRetryable ? 'never' : (asFailureDetails(cause)?.retry ?? 'process');
  return retry === 'never' ? { kind: 'fatal', detail } : { kind: 'error', cause: retry, detail };
}

/** Classifies what `trainEpoch` threw. Rethrows cancellations and what is not an activity's failure. */
export function classifyLoss(error: unknown): GangLoss {
  const failure = classifyFailure(error);
  const { cause } = error as ActivityFailure;
  const loss: GangLoss = {
    kind: 'host_lost',
    cause: failure.kind === 'error' ? failure.cause : 'process',
    detail: failure.detail,
    progress: null,
    step: null,
    silentFor: null,
    ended: null,
  };
  if (cause instanceof TimeoutFailure) {
    const progress = asProgress(cause.lastHeartbeatDetails);
    if (cause.timeoutType !== 'HEARTBEAT') return { ...loss, progress };
    return { ...loss, kind: 'silent', detail: 'no heartbeat', progress };
  }
  if (!(cause instanceof ApplicationFailure)) return { ...loss, kind: 'error' };
  const details = asLossDetails(cause);
  if (details !== null) {
    const { progress, silentFor, ended } = details;
    Object.assign(loss, { progress, silentFor, ended });
  }
  if (cause.type === failureTypes.rankLost) return { ...loss, kind: 'rank_lost' };
  if (cause.type === failureTypes.peerLost) return { ...loss, kind: 'peer_lost' };
  if (failure.kind === 'fatal' || failure.kind === 'error') return { ...loss, kind: failure.kind };
  return loss;
}

/**
 * Returns the failure to end the workflow with: the innermost typed one, so that its type and whole message are what
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

/** Returns one line for run.json. */
export function failureMessage(error: unknown): string {
  if (isCancellation(error)) return 'cancelled';
  return error instanceof Error ? error.message : String(error);
}

function asFailureDetails({ details }: ApplicationFailure): FailureDetails | null {
  const value = details?.[0];
  return typeof value === 'object' && value !== null && 'retry' in value ? (value as FailureDetails) : null;
}

function asLossDetails({ details }: ApplicationFailure): LossDetails | null {
  const value = details?.[0];
  return typeof value === 'object' && value !== null && 'silentFor' in value ? (value as LossDetails) : null;
}

function asProgress(value: unknown): Progress | null {
  return typeof value === 'object' && value !== null && 'committedStep' in value ? (value as Progress) : null;
}
