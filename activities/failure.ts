/** How a thrown error crosses into Temporal: its code becomes the failure's type, and says whether to try again. */
import {
  ApplicationFailure,
  CancelledFailure,
  CompleteAsyncError,
  TemporalFailure,
} from '@temporalio/common';
import { TemperError } from '../shared/errors.js';

/** Storage that stays broken (a full disk, a denied bucket) is not helped by more attempts than these. */
const storageAttempts = 3;

/** A process that was killed from outside is started again; one that dies each time would go on doing so. */
const lostProcesses = new Set(['EvaluatorLost', 'GeneratorLost', 'EngineLost']);
const processAttempts = 4;

/**
 * Turns any error into what an activity should throw. Errors of the user's making (`InvalidRecipe`, `DataError`,
 * `ModelError`, …) and defects end the run at once; services, storage and the operating system's own errors are retried.
 */
export function toActivityFailure(error: unknown, attempt: number): unknown {
  if (
    error instanceof TemporalFailure ||
    error instanceof CancelledFailure ||
    error instanceof CompleteAsyncError
  )
    return error;
  const type = failureType(error);
  const message = error instanceof Error ? error.message : String(error);
  return ApplicationFailure.create({
    message,
    type,
    nonRetryable: !isRetryable(error, type, attempt),
    ...(error instanceof Error && !(error instanceof TemperError) ? { cause: error } : {}),
  });
}

function failureType(error: unknown): string {
  if (error instanceof TemperError) return error.code;
  return error instanceof Error ? error.name : 'Error';
}

function isRetryable(error: unknown, type: string, attempt: number): boolean {
  if (type === 'ServiceUnavailable') return true;
  if (type === 'StorageError') return attempt < storageAttempts;
  if (lostProcesses.has(type)) return attempt < processAttempts;
  if (error instanceof TemperError) return false;
  return isSystemError(error) && attempt < storageAttempts;
}

/** Errors of the operating system and the network carry a code such as ECONNRESET. */
function isSystemError(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code);
}

/** What would happen again in just the same way on a new gang. */
const fatalInTraining = new Set([
  'InvalidRecipe',
  'UsageError',
  'DataError',
  'ModelError',
  'CheckpointError',
  'NonFiniteError',
  'OutOfMemoryError',
  'MissingPackage',
]);

/** The same for `trainEpoch`: everything but the user's own errors deserves another gang, within the run's budget. */
export function toTrainingFailure(error: unknown): unknown {
  if (error instanceof TemporalFailure) return error;
  const type = failureType(error);
  const message = error instanceof Error ? error.message : String(error);
  return ApplicationFailure.create({ message, type, nonRetryable: fatalInTraining.has(type) });
}
