/** The devices that an engine can compute on, by the names that grants, flags and TEMPER_DEVICE have for them. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { EngineError } from '../shared/errors.js';

export interface Device {
  readonly kind: 'cpu' | 'fake';
  /** `cpu`, or the file of the backend's plugin. */
  readonly backend: string;
  /** The backend's name for the device. */
  readonly id: string;
}

/** The CPU: every slot of it is the same machine. */
export const cpuDevice = 'cpu:0';

/** Returns the device of this process where nobody names one: `TEMPER_DEVICE`, otherwise the CPU. */
export const defaultDevice = (): string => process.env.TEMPER_DEVICE || cpuDevice;

const fakeBackend = fileURLToPath(new URL('../../build/temper-fake.so', import.meta.url));

/**
 * Returns the device of a name: `cpu:0`, or `fake:N`, which stands in for a GPU in tests.
 * @throws EngineError for another name, or where the backend has not been built
 */
export function parseDevice(name: string): Device {
  const [, kind, id] = /^(cpu|fake)(?::(\d+))?$/.exec(name) ?? [];
  if (kind === undefined) throw new EngineError(`'${name}' is not a device: use cpu:N or fake:N`);
  if (kind === 'cpu') return { kind, backend: 'cpu', id: '0' };
  if (!existsSync(fakeBackend)) {
    throw new EngineError(
      `the fake device has not been built (${fakeBackend} is missing): run 'npm run build:native'`,
    );
  }
  return { kind: 'fake', backend: fakeBackend, id: id ?? '0' };
}
