/** Turns thrown errors into Temporal failures: the code becomes the type, and the details say what helps. */
import {
  ApplicationFailure,
  CancelledFailure,
  CompleteAsyncError,
  TemporalFailure,
} from '@temporalio/common';
import type { FailureDetails } from '../contracts/index.js';
import { type Retry, retryAfter, TemperError } from '../shared/errors.js';
import { errorMessage } from '../shared/format.js';

/**
 * Turns any error into what an activity should throw. Whether another try follows, and when, is for the workflow to decide,
 * which knows what it has survived already.
 *
 * @param defect what helps after an error that is neither typed nor the operating system's
 */
export function toActivityFailure(error: unknown, defect: Retry = 'never'): unknown {
  if (
    error instanceof TemporalFailure ||
    error instanceof CancelledFailure ||
    error instanceof CompleteAsyncError
  )
    return error;
  return toFailure(error, retryAfter(error, defect));
}

/** Does the same for `trainEpoch`, where a defect deserves another gang: its process has native code in it. */
export const toTrainingFailure = (error: unknown): unknown => toActivityFailure(error, 'process');

/** Returns a failure with the code and the message of an error. */
export function toFailure(error: unknown, retry: Retry): ApplicationFailure {
  const details: FailureDetails = { version: 1, retry };
  return ApplicationFailure.create({
    message: errorMessage(error),
    type: failureType(error),
    nonRetryable: retry === 'never',
    details: [details],
    ...(error instanceof Error && !(error instanceof TemperError) ? { cause: error } : {}),
  });
}

function failureType(error: unknown): string {
  if (error instanceof TemperError) return error.code;
  return error instanceof Error ? error.name : 'Error';
}
