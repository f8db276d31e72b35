/** Runs a step under an activity: heartbeats, cancellation, typed failures. */
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { type CrashDetails, failureTypes, type StepName } from '../contracts/index.js';
import type { StepHooks } from '../recipes/index.js';
import { TemperError } from '../shared/errors.js';
import { toActivityFailure } from './failure.js';
import type { Steps } from './steps.js';

/** Computes a step in a process of its own. */
export type StepRunner = <Name extends StepName>(
  step: Name,
  request: Parameters<Steps[Name]>[0],
  hooks: StepHooks,
) => Promise<Awaited<ReturnType<Steps[Name]>>>;

/** The process of a step was killed, aborted or exceeded its bounds. */
export class ProcessCrashed extends TemperError {
  constructor(readonly details: CrashDetails) {
    super(failureTypes.processCrashed, `the process that computed ${details.step} ended: ${details.ended}`);
  }
}

/** Interval of the heartbeats in ms. The worker throttles them to one a second. */
const beat = 2000;

/**
 * Runs one step under the current activity. Its progress is the heartbeat's details; it is also repeated while there is
 * no news, because a cancellation arrives only in the answer to a heartbeat.
 */
export async function runStep<T>(step: (hooks: StepHooks) => Promise<T>): Promise<T> {
  const context = Context.current();
  let last: { fraction: number | null; text: string } | null = null;
  const timer = setInterval(() => context.heartbeat(last), beat);
  const hooks: StepHooks = {
    progress: (fraction, text) => {
      last = { fraction, text };
      context.heartbeat(last);
    },
    signal: context.cancellationSignal,
  };
  try {
    return await step(hooks);
  } catch (error) {
    // A step that gave up because it was cancelled reports the cancellation, whatever it threw on its way out.
    if (context.cancellationSignal.aborted) await context.cancelled;
    throw asFailure(error);
  } finally {
    clearInterval(timer);
  }
}

/** Does the same for a short activity: no heartbeats. */
export async function runBriefly<T>(step: (hooks: StepHooks) => Promise<T>): Promise<T> {
  const { cancellationSignal } = Context.current();
  try {
    return await step({ progress: () => {}, signal: cancellationSignal });
  } catch (error) {
    throw asFailure(error);
  }
}

/** Returns the failure of a step. The workflow decides what a crash means: it counts the crashes on this input. */
function asFailure(error: unknown): unknown {
  if (!(error instanceof ProcessCrashed)) return toActivityFailure(error);
  const { message, code, details } = error;
  return ApplicationFailure.create({ message, type: code, details: [details] });
}
