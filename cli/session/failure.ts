import {
  ApplicationFailure,
  CancelledFailure,
  TerminatedFailure,
  WorkflowFailedError,
} from '@temporalio/client';
import { ServiceUnavailable, TemperError, UsageError } from '../../shared/errors.js';

/**
 * Returns a failed workflow as one of our errors, so that it is printed and numbered like a failure of this process.
 */
export function runFailure(error: unknown, id: string): unknown {
  if (!(error instanceof WorkflowFailedError)) return error;
  const { cause } = error;
  if (cause instanceof TerminatedFailure)
    return new TemperError('Terminated', `the run '${id}' was terminated: ${cause.message}`);
  if (cause instanceof CancelledFailure) return new TemperError('Cancelled', `the run '${id}' was cancelled`);
  const failure = innermost(cause);
  if (failure === null) return error;
  const message = failure.message;
  if (failure.type === 'InvalidRecipe' || failure.type === 'UsageError') return new UsageError(message);
  if (failure.type === 'ServiceUnavailable') return new ServiceUnavailable(message);
  return new TemperError(failure.type ?? 'Failed', `the run '${id}' failed: ${message}`);
}

function innermost(error: unknown): ApplicationFailure | null {
  let innermostFailure: ApplicationFailure | null = null;
  for (let current = error; current instanceof Error; current = current.cause) {
    if (current instanceof ApplicationFailure) innermostFailure = current;
  }
  return innermostFailure;
}
