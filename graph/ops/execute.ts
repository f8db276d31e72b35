/** Executes single ops in float64: what the interpreters of graphs and of plans share. */
import type { Attrs } from '../ir/graph.js';
import type { DType } from '../ir/plan.js';
import { roundTo } from '../ir/round.js';
import type { Op, Tensor } from './op.js';

/** Tensors by name, their elements in float64. */
export type Tensors = Record<string, Float64Array>;

export interface ExecuteMode {
  /** As a run's option: `accumulate: "after_first"` overwrites instead of adding. */
  readonly first: boolean;
  /** Round every store to its dtype, and the factors of bf16 products: what an engine computes, up to summation order. */
  readonly rounding: boolean;
}

/** Returns what the outputs of an op become; `before` are the outputs as they are, which it may add to or read. */
export function execute(
  op: Op,
  attrs: Attrs,
  inputs: readonly Tensor[],
  before: readonly Tensor[],
  mode: ExecuteMode,
): Float64Array[] {
  const states = (op.readsOutputs ?? []).flatMap((i) => (before[i] === undefined ? [] : [before[i]]));
  const results = op.evaluate(
    [...inputs, ...states],
    attrs,
    before.map(({ shape }) => shape),
    { roundFactors: mode.rounding },
  );
  const addedTo = addsTo(attrs, mode.first) ? (op.accumulates?.(attrs) ?? []) : [];
  return results.map((data, i) => (addedTo.includes(i) ? data.map((x, j) => x + before[i]!.data[j]!) : data));
}

/** Returns whether a node or record adds to what its outputs hold, rather than overwriting it. */
export const addsTo = (attrs: Attrs, first: boolean): boolean =>
  attrs.accumulate === 'always' || (attrs.accumulate === 'after_first' && !first);

/** Rounds data that is stored as `dtype`, where that is asked for. */
export const roundStored = (
  data: Float64Array,
  dtype: DType,
  { rounding }: Pick<ExecuteMode, 'rounding'>,
): Float64Array => (rounding ? data.map((x) => roundTo(x, dtype)) : data);
