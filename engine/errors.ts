import { EngineError, OutOfMemoryError, PeerLost, UnsupportedError } from '../shared/errors.js';

/** The run was ended by `abort()` or `close()`; tensors it writes hold what it had got to. */
export class EngineAborted extends EngineError {}

/** The device, or the driver below it, has failed for good: the process that uses it has to end. */
export class DeviceLost extends EngineError {}

/** The typed error for what the native side threw. */
function typed(error: unknown): Error {
  const { message, code } = error as Error & { code?: string };
  if (message === 'aborted') return new EngineAborted('the engine was aborted', { cause: error });
  if (code === 'UNSUPPORTED') return new UnsupportedError(message, { cause: error });
  if (code === 'OUT_OF_MEMORY') return new OutOfMemoryError(message, { cause: error });
  if (code === 'DEVICE_LOST') return new DeviceLost(message, { cause: error });
  if (code === 'PEER_LOST') return new PeerLost(message, { cause: error });
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
