import { InvalidRecipe, ServiceUnavailable, TemperError, UsageError } from '../../shared/errors.js';

/** Exit codes that scripts rely on. */
export const exitCodes = {
  completed: 0,
  failed: 1,
  usage: 2,
  unavailable: 75,
  /** A worker that SIGUSR2, a batch system's notice, has stopped: its job is to be queued again. */
  requeue: 99,
  interrupted: 130,
} as const;

/** Returns the exit code of a command that threw. */
export function exitCodeFor(error: unknown): number {
  if (error instanceof InvalidRecipe || error instanceof UsageError) return exitCodes.usage;
  if (error instanceof ServiceUnavailable) return exitCodes.unavailable;
  return exitCodes.failed;
}

/** Returns what to print about an error: only its message when it is one of ours, its stack when it is a defect. */
export function describeError(error: unknown): string {
  if (error instanceof TemperError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
