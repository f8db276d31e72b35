/** Which bytes a buffer of a plan covers, and which of them a record reads and writes. */

import { elements } from '../ir/graph.js';
import { dtypeBytes, type Plan, type PlanBuffer, type PlanRecord } from '../ir/plan.js';
import { addsTo } from '../ops/execute.js';
import { flattenOperands, recordOperands } from '../ops/operands.js';
import { opOf } from '../ops/registry.js';

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

/** Returns the indices of the buffers that a record reads, and of those that it writes. */
export function accesses(
  { op: name, attrs, inputs, outputs }: PlanRecord,
  run: { readonly first: boolean },
): { reads: number[]; writes: number[] } {
  const op = opOf(name);
  const rule = recordOperands(op, attrs);
  const writes = flattenOperands(name, rule.outputs, outputs);
  const addedTo = addsTo(attrs, run.first) ? (op.accumulates?.(attrs) ?? []) : [];
  const reads = flattenOperands(name, rule.inputs, inputs);
  return {
    reads: [...reads, ...[...addedTo, ...(op.readsOutputs ?? [])].flatMap((i) => writes[i] ?? [])],
    writes,
  };
}
