/** What an op is to the graph. Each file of this folder holds one op: its rules forward, then those of its gradient. */
import { GraphError } from '../error.js';
import type { Attrs, AxisSizes, Placement, Value } from '../graph.js';
import { elements, printPlacement, printValue, samePlacement } from '../graph.js';
import type { OnnxTarget } from '../onnx/target.js';
import type { DType } from '../plan.js';

/** A tensor of the interpreter: row-major, float64 whatever its dtype. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Type of one output, as the shape and placement rules derive it. */
export interface OutputType {
  readonly axes: readonly string[];
  /** What a float32 graph gives it; the precision pass may narrow it. */
  readonly dtype: DType;
  readonly placement: Placement;
}

/** How the interpreter treats `compute: "bf16"`: exactly, or rounding the factors as the engine does. */
export interface EvaluateMode {
  readonly roundFactors: boolean;
}

export interface EmitOptions {
  /** One name an output. */
  readonly names?: readonly string[];
  /** One dtype an output; what the op infers otherwise. */
  readonly dtypes?: readonly DType[];
}

/** Appends a node and returns its outputs. */
export type Emit = (op: string, inputs: readonly Value[], attrs?: Attrs, options?: EmitOptions) => Value[];

/** A node as its rules see it. */
export interface OpCall {
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attrs: Attrs;
}

export interface Op {
  readonly name: string;
  /** Shape and placement rule. Throws GraphError when the inputs do not fit. */
  infer(inputs: readonly Value[], attrs: Attrs): OutputType[];
  /** Floating-point operations; a multiply-add counts two. `axes` are the graph's, for what shapes do not say. */
  flops(call: OpCall, axes: AxisSizes): number;
  /** Bytes read and written; where absent, every input and output once. */
  bytes?(call: OpCall): number;
  /**
   * Vector-Jacobian product: the gradient for each input, null where none is wanted (`needs` is false) or there is
   * none. `grads` has the gradient of each output, null for outputs that reach no loss.
   */
  vjp?(
    emit: Emit,
    call: OpCall,
    grads: readonly (Value | null)[],
    needs: readonly boolean[],
  ): (Value | null)[];
  /** Reference semantics in float64. */
  evaluate(
    inputs: readonly Tensor[],
    attrs: Attrs,
    shapes: readonly (readonly number[])[],
    mode: EvaluateMode,
  ): Float64Array[];
  /** Outputs that `attrs.accumulate` adds to; the other outputs are always overwritten. */
  accumulates?(attrs: Attrs): readonly number[];
  /** Outputs (state) whose old values `evaluate` gets after the inputs, where the node has them. */
  readonly readsOutputs?: readonly number[];
  /** Outputs that stay float32 in every precision: statistics, losses, the residual stream. */
  readonly float32?: readonly number[];
  /** Pairs [output, input] that may share a buffer. */
  readonly inPlace?: readonly (readonly [output: number, input: number])[];
  /** True where a pass that saves memory may well compute it again: cheap beside a matrix product. */
  readonly cheap?: boolean;
  /** The same in primitives (`ops/primitives.ts`): specification of the op and oracle of its gradient. */
  fallback?(emit: Emit, inputs: readonly Value[], attrs: Attrs): Value[];
  /**
   * Writes the op as ONNX nodes. `inputs` are the names of its inputs there, null for what a sequence has no use for; a
   * value [T, N] is rows, T = batch · sequence. Returns the name of each output, null for one that ONNX does not have.
   */
  onnx?(to: OnnxTarget, inputs: readonly (string | null)[], call: OpCall): (string | null)[];
}

export const num = (attrs: Attrs, key: string): number => {
  const value = attrs[key];
  if (typeof value !== 'number')
    throw new GraphError(`attribute '${key}' should be a number, is ${String(value)}`);
  return value;
};

export const flag = (attrs: Attrs, key: string): boolean => attrs[key] === true;

export const text = (attrs: Attrs, key: string): string => {
  const value = attrs[key];
  if (typeof value !== 'string')
    throw new GraphError(`attribute '${key}' should be text, is ${String(value)}`);
  return value;
};

/** Throws unless `condition`; the message names the op and all of its inputs. */
export function demand(
  condition: boolean,
  op: string,
  inputs: readonly Value[],
  expected: string,
): asserts condition {
  if (!condition) throw new GraphError(`${op}(${inputs.map(printValue).join(', ')}): expected ${expected}`);
}

export const sameAxes = (a: Value, b: Value): boolean =>
  a.axes.length === b.axes.length && a.axes.every((label, i) => label === b.axes[i]);

/** The placement all of `values` share. */
export function commonPlacement(op: string, values: readonly Value[]): Placement {
  const first = values[0]!.placement;
  for (const value of values) {
    if (!samePlacement(value.placement, first)) {
      throw new GraphError(
        `${op}: ${value.name} is ${printPlacement(value.placement)}, ${values[0]!.name} is ${printPlacement(first)}; they must agree`,
      );
    }
  }
  return first;
}

/** For ops that are not linear: refuses summands that have not been added yet. */
export function notPartial(op: string, values: readonly Value[]): void {
  for (const value of values) {
    if (value.placement.kind === 'partial') {
      throw new GraphError(`${op} is not linear in ${value.name}, which is Partial: reduce it first`);
    }
  }
}

/**
 * For ops that work on each token alone: `rows` (first axis T) agree on Replicated or Shard(0), and what the tokens
 * share (`shared`) is Replicated. Returns the placement of the rows.
 */
export function rowPlacement(op: string, rows: readonly Value[], shared: readonly Value[]): Placement {
  notPartial(op, [...rows, ...shared]);
  const placement = commonPlacement(op, rows);
  if (placement.kind === 'shard' && placement.dim !== 0) {
    throw new GraphError(
      `${op} needs whole rows: ${rows[0]!.name} is ${printPlacement(placement)}, should be Replicated or Shard(0)`,
    );
  }
  for (const value of shared) {
    if (value.placement.kind !== 'replicated') {
      throw new GraphError(`${op} needs ${value.name} Replicated, it is ${printPlacement(value.placement)}`);
    }
  }
  return placement;
}

export const zeros = (shape: readonly number[]): Float64Array => new Float64Array(elements(shape));
