/** What every activity does around the recipe's function: heartbeats, cancellation, typed failures. */
import { Context } from '@temporalio/activity';
import type { StepHooks } from '../recipes/index.js';
import { toActivityFailure } from './failure.js';

/** Interval of the heartbeats in ms. The worker throttles them to one a second. */
const beat = 2000;

/**
 * Runs one step under the current activity. Its progress is the heartbeat's details; it is also repeated while nothing
 * new is said, because a cancellation arrives only in the answer to a heartbeat.
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
    // A step that gave up because it was told to reports the cancellation, whatever it threw on its way out.
    if (context.cancellationSignal.aborted) await context.cancelled;
    throw toActivityFailure(error);
  } finally {
    clearInterval(timer);
  }
}

/** The same for an activity that takes a moment: no heartbeats. */
export async function runBriefly<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw toActivityFailure(error);
  }
}
