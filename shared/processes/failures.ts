/** Errors as they cross from one process or thread to another: plain objects on the way, typed errors at both ends. */
import { z } from 'zod';
import * as errors from '../errors.js';
import { InvalidRecipe, TemperError } from '../errors.js';

export const failureSchema = z.strictObject({
  /** `code` of a TemperError; the class's name of any other error. */
  code: z.string(),
  message: z.string(),
  /** The stack; null for a TemperError, whose message has what a reader needs. */
  stack: z.string().nullable(),
  /** The operating system's code, e.g. `ENOSPC`; null when the error is not the system's. */
  errno: z.string().nullable(),
  /** Problems of an InvalidRecipe; null for every other error. */
  problems: z
    .array(
      z.strictObject({
        key: z.string(),
        message: z.string(),
        file: z.string().nullable(),
        line: z.number().nullable(),
        column: z.number().nullable(),
      }),
    )
    .nullable(),
});
export type Failure = z.infer<typeof failureSchema>;

/** Returns what another process or thread needs to throw the same error. */
export function encodeFailure(error: unknown): Failure {
  if (!(error instanceof Error))
    return { code: 'Error', message: String(error), stack: null, errno: null, problems: null };
  const typed = error instanceof TemperError;
  const system = 'code' in error && 'errno' in error ? error.code : null;
  return {
    code: typed ? error.code : error.name,
    message: error.message,
    stack: typed ? null : (error.stack ?? null),
    errno: !typed && typeof system === 'string' ? system : null,
    problems: error instanceof InvalidRecipe ? [...error.problems] : null,
  };
}

/** Classes of errors whose name is their code. */
const classes = new Map<string, typeof TemperError>(
  Object.entries(errors).filter(
    (entry): entry is [string, typeof TemperError] =>
      typeof entry[1] === 'function' && entry[1].prototype instanceof TemperError,
  ),
);

/**
 * Returns the error that was encoded: of its class where that is one of `shared/errors.ts`, a TemperError for the code of
 * another room's class, and an Error that has the system's `code` or the defect's stack for the rest.
 */
export function errorFrom({ code, message, stack, errno, problems }: Failure): Error {
  if (problems !== null) return new InvalidRecipe(problems);
  if (stack === null && errno === null) {
    const error = new TemperError(code, message);
    const restored = classes.get(code);
    // Constructors differ, and some compose their message; handlers look at the class only.
    return restored === undefined ? error : Object.setPrototypeOf(error, restored.prototype);
  }
  const error = new Error(message);
  error.name = code;
  if (stack !== null) error.stack = stack;
  return errno === null ? error : Object.assign(error, { code: errno });
}
