/** The device slots that a host offers. */
import { UsageError } from '../../shared/errors.js';

/**
 * Parses `auto` or `cpu:N` to names of slots, e.g. `cpu:0`, `cpu:1`: each takes one rank. `auto` is one slot that has
 * all of the CPU's cores.
 */
export function parseDevices(text: string): string[] {
  if (text === 'auto') return ['cpu:0'];
  const count = /^cpu(?::([1-9]\d{0,2}))?$/.exec(text);
  if (count === null)
    throw new UsageError(`'${text}' is not a valid device list: use auto, cpu or cpu:N (N slots)`);
  return Array.from({ length: Number(count[1] ?? 1) }, (_, index) => `cpu:${index}`);
}
