/** The device slots that a host offers. */
import { UsageError } from '../../shared/errors.js';

/**
 * Returns the names of slots, e.g. `cpu:0`, `cpu:1` for `cpu:2`: each takes one rank. `auto` is one slot that has all of the
 * CPU's cores. `fake:N` are devices that stand in for GPUs in tests.
 * @throws UsageError for any other text
 */
export function parseDevices(text: string): string[] {
  if (text === 'auto') return ['cpu:0'];
  const [, kind, count] = /^(cpu|fake)(?::([1-9]\d{0,2}))?$/.exec(text) ?? [];
  if (kind === undefined)
    throw new UsageError(`'${text}' is not a valid device list: use auto, cpu or cpu:N (N slots)`);
  return Array.from({ length: Number(count ?? 1) }, (_, index) => `${kind}:${index}`);
}
