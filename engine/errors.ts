import { EngineError, OutOfMemoryError } from '../shared/errors.js';

/** The run was ended by `abort()` or `close()`; tensors it writes hold what it had got to. */
export class EngineAborted extends EngineError {}

/** The typed error for what the native side threw. */
function typed(error: unknown): Error {
  const message = (error as Error).message;
  if (message === 'aborted') return new EngineAborted('the engine was aborted', { cause: error });
  if (message.startsWith('cannot allocate')) return new OutOfMemoryError(message, { cause: error });
  return new EngineError(message, { cause: error });
}

export function native<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw typed(error);
  }
}

export async function nativeAsync<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw typed(error);
  }
}
