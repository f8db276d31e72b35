/** Which bytes a buffer of a plan covers, and which of them a record reads and writes. */
import { elements } from '../ir/graph.js';
import { dtypeBytes, type Plan, type PlanBuffer } from '../ir/plan_v2.js';
import { flattenOperands, operandsOf } from '../ops/operands.js';
import { opOf } from '../ops/registry.js';
import type { Instance } from './plan_queue.js';

/** A range of bytes of one memory: the arena, a tensor by name, or a slot of one run. */
export interface Extent {
  readonly memory: string;
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** Bytes of a buffer. */
export const bufferBytes = ({ shape, dtype }: Pick<PlanBuffer, 'shape' | 'dtype'>): number =>
  elements(shape) * dtypeBytes[dtype];

/** Bytes from the start of its base to a window; 0 for what is not a window. */
export function windowOffset(plan: Plan, { view }: PlanBuffer): number {
  if (view === null) return 0;
  const base = plan.buffers[view.of]!;
  return view.row * elements(base.shape.slice(1)) * dtypeBytes[base.dtype];
}

/** The bytes of a buffer; slots are memory of their run. */
export function extentOf(plan: Plan, index: number, runIndex: number): Extent {
  const buffer = plan.buffers[index]!;
  const base = buffer.view === null ? buffer : plan.buffers[buffer.view.of]!;
  const start = (base.offset ?? 0) + windowOffset(plan, buffer);
  const memory =
    base.space === 'arena'
      ? 'arena'
      : base.space === 'tensor'
        ? `tensor ${base.name}`
        : `${base.space} ${base.name} of run ${runIndex}`;
  return { memory, start, end: start + bufferBytes(buffer) };
}

/** Whether a record adds to what its outputs hold, rather than overwriting it. */
export const adds = ({ record, run }: Pick<Instance, 'record' | 'run'>): boolean =>
  record.attrs.accumulate === 'always' || (record.attrs.accumulate === 'after_first' && !run.first);

/** Indices of the buffers that an instance reads, and of those that it writes. */
export function accesses(instance: Instance): { reads: number[]; writes: number[] } {
  const { op: name, attrs, inputs, outputs } = instance.record;
  const op = opOf(name);
  const rule = operandsOf(name, attrs);
  const writes = flattenOperands(name, rule.outputs, outputs);
  const updated = [...(adds(instance) ? (op.accumulates?.(attrs) ?? []) : []), ...(op.readsOutputs ?? [])];
  const reads = flattenOperands(name, rule.inputs, inputs);
  return { reads: [...reads, ...updated.flatMap((i) => writes[i] ?? [])], writes };
}
