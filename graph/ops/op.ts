/** The interface of an op in the graph. Each file of this folder holds one op: its rules forward, then those of its gradient. */
import { GraphError } from '../ir/error.js';
import type { Attrs, AxisSizes, Value } from '../ir/graph.js';
import { elements, printValue } from '../ir/graph.js';
import type { DType } from '../ir/plan.js';
import type { OnnxTarget } from '../onnx/target.js';
import type { Operands } from './operands.js';
import type { Signature, SignatureRule } from './signatures.js';

/** A tensor of the interpreter: row-major, float64 whatever its dtype. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** Axes and dtype of one output, as the shape rule derives them. */
export interface OutputType {
  readonly axes: readonly string[];
  /** The type in a float32 graph; the precision pass may narrow it. */
  readonly dtype: DType;
}

/** The interpreter's treatment of `compute: "bf16"`: exactly, or rounding the factors as the engine does. */
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

/** The type of an attribute. An `integer` refuses a fraction: 1.9 heads are a mistake, not one head. */
export type AttributeType = 'number' | 'integer' | 'flag' | 'text' | 'numbers' | 'flags';

export type AttributeTypes = Readonly<Record<string, AttributeType>>;

/** An output that may take over exactly the range of an input. */
export interface InPlacePair {
  readonly output: number;
  /** Counts from the last input where it is negative. */
  readonly input: number;
  /** An attribute that has to be true for it; null where it always may. */
  readonly when: string | null;
}

/** The inputs and state of an optimizer's op beyond parameter, gradient, norm and the norm it clips to. */
export interface OptimizerRules {
  /** Numbers of a step, in the order of the op's input slot `<op>_scalars`. */
  readonly scalars: readonly string[];
  /** Prefixes of the tensors it keeps for each parameter, in the order of the outputs after the parameter. */
  states(attrs: Attrs): readonly string[];
}

/** The inputs and attributes of a node that does the work of two. */
export interface FusedCall {
  readonly inputs: readonly number[];
  readonly attrs: Attrs;
}

export interface Op {
  readonly name: string;
  /** The groups of a record's operands; native/ops has the same. Absent of ops that only graphs have. */
  readonly operands?: Operands;
  /** The attributes of a record, all of them and nothing else; native/ops has the same table. */
  readonly attributes: AttributeTypes;
  /** Attributes that a node has for its shape rule, its FLOPs or its ONNX form, and a record does not. */
  readonly shapeAttributes?: AttributeTypes;
  /**
   * Shape rule.
   * @throws GraphError when the inputs do not fit
   */
  infer(inputs: readonly Value[], attrs: Attrs): OutputType[];
  /**
   * Layout rule (`ops/signatures.ts`): how the operands may lie across the ranks of one mesh axis. An op without takes whole
   * values, as formulas do.
   */
  readonly signatures?: readonly Signature[] | SignatureRule;
  /** Returns, for each input, whether it is transposed, so that S0 and S1 of its place in a signature change places. */
  transposed?(attrs: Attrs): readonly boolean[];
  /** Floating-point operations; a multiply-add counts two. `axes` are the graph's, for what shapes do not say. */
  flops(call: OpCall, axes: AxisSizes): number;
  /** Bytes read and written; where absent, every input and output once. */
  bytes?(call: OpCall): number;
  /**
   * Vector-Jacobian product: the gradient for each input, null where none is wanted (`needs` is false) or there is
   * none. `grads` has the gradient of each output, null for outputs that reach no loss. Of an op with a `weightInput` the gradient
   * of output 0 is 1: autodiff multiplies the weight by any other, and makes the weight's own gradient.
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
  readonly inPlace?: readonly InPlacePair[];
  /** True of matrix products: the precision pass decides their attribute `compute`. */
  readonly computes?: boolean;
  /** True of ops that make a gradient together with their output: attributes that ask for one. */
  readonly gradientFlags?: readonly string[];
  /** The input, an f32 [1], that output 0 is proportional to: what a loss is weighted by. It has no other output to differentiate. */
  readonly weightInput?: number;
  /** This node with `residual` added to output 0; null where it adds one already. */
  withResidual?(node: FusedCall, residual: number): FusedCall | null;
  /** One node for the sum of output 0 of two nodes of this op; null where there is none. */
  withSum?(a: FusedCall, b: FusedCall): FusedCall | null;
  readonly optimizer?: OptimizerRules;
  /** True where a pass that saves memory may well compute it again: cheap compared with a matrix product. */
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

const hasType: Record<AttributeType, (value: unknown) => boolean> = {
  number: (value) => typeof value === 'number',
  integer: Number.isSafeInteger,
  flag: (value) => typeof value === 'boolean',
  text: (value) => typeof value === 'string',
  numbers: (value) => Array.isArray(value) && value.every((item) => typeof item === 'number'),
  flags: (value) => Array.isArray(value) && value.every((item) => typeof item === 'boolean'),
};

/** @throws GraphError unless the attributes are exactly those of a node of this op, each of its type */
export function checkAttributes(op: Op, attrs: Attrs): void {
  const { attributes, shapeAttributes } = op;
  const types = shapeAttributes === undefined ? attributes : { ...attributes, ...shapeAttributes };
  for (const key in types) {
    const type = types[key]!;
    if (attrs[key] === undefined) throw new GraphError(`${op.name}: the attribute '${key}' is missing`);
    if (!hasType[type](attrs[key])) {
      throw new GraphError(
        `${op.name}: the attribute '${key}' is ${JSON.stringify(attrs[key])}, which is not of type ${type}`,
      );
    }
  }
  for (const key in attrs) {
    if (types[key] !== undefined) continue;
    throw new GraphError(
      `${op.name}: unknown attribute '${key}'; it has ${Object.keys(types).join(', ') || 'none'}`,
    );
  }
}

/** Throws unless `condition`; the message names the op and all of its inputs. */
export function demand(
  condition: boolean,
  op: string,
  inputs: readonly Value[],
  expected: string,
): asserts condition {
  if (!condition) throw new GraphError(`${op}(${inputs.map(printValue).join(', ')}): expected ${expected}`);
}

export const sameAxes = (a: Pick<Value, 'axes'>, b: Pick<Value, 'axes'>): boolean =>
  a.axes.length === b.axes.length && a.axes.every((label, i) => label === b.axes[i]);

export const zeros = (shape: readonly number[]): Float64Array => new Float64Array(elements(shape));
