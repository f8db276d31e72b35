/**
 * Ops of one's own, written as a formula over primitives: no target has a kernel for them, and every one runs them
 * (`passes/lower.ts`). Shapes, gradient and float64 reference follow from the formula.
 */
import { GraphError } from '../ir/error.js';
import type { Attrs, Value } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import { replicated } from '../ir/layout.js';
import type { AttributeTypes, Emit, Op, Tensor } from './op.js';
import { checkAttributes, sameAxes } from './op.js';
import { inferOptimizer } from './optimizer.js';
import { opOf } from './registry.js';

/** A value, or a number for all of its elements. */
export type Term = Value | number;

/** The functions that formulas are written with: each appends primitives and returns their value. An f32 [1] counts as a number. */
export class Arithmetic {
  /** Appends any op. */
  readonly emit: Emit;

  constructor(emit: Emit) {
    this.emit = emit;
  }

  add(a: Term, b: Term): Value {
    if (typeof a === 'number') return this.add(this.#value(b), a);
    if (typeof b === 'number') return this.#one('shift', [a], { by: b });
    if (sameAxes(a, b)) return this.#one('add', [a, b]);
    return isWider(b, a) ? this.#binary('add', b, a) : this.#binary('add', a, b);
  }

  subtract(a: Term, b: Term): Value {
    if (typeof b === 'number') return this.add(this.#value(a), -b);
    return typeof a === 'number' || isWider(b, a)
      ? this.add(this.negate(b), a)
      : this.#binary('subtract', a, b);
  }

  multiply(a: Term, b: Term): Value {
    if (typeof a === 'number') return this.multiply(this.#value(b), a);
    if (typeof b === 'number') return this.#one('scale', [a], { alpha: b });
    return isWider(b, a) ? this.#binary('multiply', b, a) : this.#binary('multiply', a, b);
  }

  divide(a: Term, b: Term): Value {
    if (typeof b === 'number') return this.multiply(this.#value(a), 1 / b);
    if (typeof a === 'number' || isWider(b, a)) return this.multiply(this.reciprocal(b), a);
    return this.#binary('divide', a, b);
  }

  maximum(a: Value, b: Term): Value {
    return this.#binary('maximum', a, this.#value(b));
  }

  minimum(a: Value, b: Term): Value {
    return this.#binary('minimum', a, this.#value(b));
  }

  /** 1 where a > b, 0 elsewhere. */
  greater(a: Value, b: Term): Value {
    return this.#binary('greater', a, this.#value(b));
  }

  /** `a` where the condition is not 0, `b` elsewhere. */
  where(condition: Value, a: Value, b: Value): Value {
    return this.#one('where', [condition, a, b]);
  }

  negate(x: Value): Value {
    return this.multiply(x, -1);
  }

  square(x: Value): Value {
    return this.multiply(x, x);
  }

  exp = (x: Value): Value => this.#unary('exp', x);
  log = (x: Value): Value => this.#unary('log', x);
  sqrt = (x: Value): Value => this.#unary('sqrt', x);
  rsqrt = (x: Value): Value => this.#unary('rsqrt', x);
  reciprocal = (x: Value): Value => this.#unary('reciprocal', x);
  sigmoid = (x: Value): Value => this.#unary('sigmoid', x);
  tanh = (x: Value): Value => this.#unary('tanh', x);
  abs = (x: Value): Value => this.#unary('abs', x);
  /** −1, 0 or 1. */
  sign = (x: Value): Value => this.#unary('sign', x);
  /** 1 for a number, 0 for an infinity or NaN. */
  isFinite = (x: Value): Value => this.#unary('is_finite', x);

  /** log σ(x) = −m − log(exp(−m) + exp(−x − m)), with m = max(−x, 0) so that no exponential overflows. The gradients of m cancel. */
  logSigmoid(x: Value): Value {
    const down = this.negate(x);
    const m = this.maximum(down, 0);
    const sum = this.add(this.exp(this.negate(m)), this.exp(this.subtract(down, m)));
    return this.negate(this.add(m, this.log(sum)));
  }

  /** Products of values, summed over the axes that the result does not name: `einsum('td,vd->tv', x, w)`. */
  einsum(spec: string, ...values: Value[]): Value {
    return this.#one('einsum', values, { spec });
  }

  /** A number as a value, f32 [1]. */
  number(value: number): Value {
    return this.#one('literal', [], { axes: '1', values: [value] });
  }

  /** Element `index` of a list. */
  pick(x: Value, index: number): Value {
    return this.#one('pick', [x], { index });
  }

  #value(term: Term): Value {
    return typeof term === 'number' ? this.number(term) : term;
  }

  #binary(fn: string, a: Value, b: Value): Value {
    return this.#one('binary', [a, b], { fn });
  }

  #unary(fn: string, x: Value): Value {
    return this.#one('unary', [x], { fn });
  }

  #one(op: string, inputs: readonly Value[], attrs: Attrs = {}): Value {
    return this.emit(op, inputs, attrs)[0]!;
  }
}

const isWider = (a: Value, b: Value): boolean => elements(b.shape) === 1 && elements(a.shape) > 1;

/** An op as a formula. */
export interface OpFormula {
  readonly name: string;
  readonly attributes: AttributeTypes;
  /** Returns the outputs. */
  compute(math: Arithmetic, inputs: readonly Value[], attrs: Attrs): Value[];
}

/** Returns the op of a formula, to be registered with `registerOp`. Its gradient is the formula's. */
export function formulaOp({ name, attributes, compute }: OpFormula): Op {
  const fallback: Op['fallback'] = (emit, inputs, attrs) => compute(new Arithmetic(emit), inputs, attrs);
  return {
    name,
    attributes,
    infer: (inputs, attrs) => traceFallback(fallback, inputs, attrs),
    flops: ({ outputs }) => outputs.reduce((sum, { shape }) => sum + elements(shape), 0),
    evaluate: (inputs, attrs) => evaluateFallback(fallback, inputs, attrs),
    fallback,
  };
}

/** An optimizer's update as a formula. */
export interface OptimizerFormula<Scalar extends string, State extends string> {
  readonly name: string;
  /** Numbers of a step, which `OptimizerDefinition.scalars` returns. */
  readonly scalars: readonly Scalar[];
  /** Tensors that are kept for each parameter, of its shape: 0 before the first step. */
  readonly states: readonly State[];
  /** Attributes in addition to `weight_decay`. */
  readonly attributes?: AttributeTypes;
  /** Returns the parameter and the state after a step; `g` is clipped already. */
  update(math: Arithmetic, operands: UpdateOperands<Scalar, State>): Record<'p' | State, Value>;
}

export interface UpdateOperands<Scalar extends string, State extends string> {
  readonly p: Value;
  readonly g: Value;
  readonly states: Readonly<Record<State, Value>>;
  /** f32 [1] each. */
  readonly scalars: Readonly<Record<Scalar, Value>>;
  readonly weightDecay: number;
  readonly attrs: Attrs;
}

/**
 * Returns the op of an optimizer's formula, to be registered with `registerOp`. As with every optimizer's op, g is scaled by
 * min(1, max_norm ÷ (norm + 1e-6)) unless max_norm is 0, and a norm that is not finite changes nothing.
 */
export function optimizerOp<Scalar extends string, State extends string>(
  formula: OptimizerFormula<Scalar, State>,
): Op {
  const { name, scalars, states } = formula;
  const fallback: Op['fallback'] = (emit, [p, g, norm, maxNorm, slot, ...old], attrs) => {
    const math = new Arithmetic(emit);
    const nextValues = formula.update(math, {
      p: p!,
      g: math.multiply(g!, clipFactor(math, norm!, maxNorm!)),
      states: Object.fromEntries(states.map((state, i) => [state, old[i]!])) as Record<State, Value>,
      scalars: Object.fromEntries(scalars.map((scalar, i) => [scalar, math.pick(slot!, i)])) as Record<
        Scalar,
        Value
      >,
      weightDecay: attrs.weight_decay as number,
      attrs,
    });
    const isSound = math.isFinite(norm!);
    return [p!, ...old].map((before, i) => {
      const key = i === 0 ? 'p' : states[i - 1]!;
      if (nextValues[key] === undefined)
        throw new GraphError(`the update of optimizer '${name}' does not return '${key}'`);
      return math.where(isSound, nextValues[key], before);
    });
  };
  return {
    name,
    attributes: { weight_decay: 'number', ...formula.attributes },
    optimizer: { scalars, states: () => states },
    infer: (inputs) => inferOptimizer(name, inputs, scalars.length, states.length),
    flops: ({ outputs }) => outputs.reduce((sum, { shape }) => sum + elements(shape), 0),
    evaluate: (inputs, attrs) => evaluateFallback(fallback, inputs, attrs),
    readsOutputs: states.map((_, i) => i + 1),
    fallback,
  };
}

function clipFactor(math: Arithmetic, norm: Value, maxNorm: Value): Value {
  const one = math.number(1);
  return math.where(maxNorm, math.minimum(math.divide(maxNorm, math.add(norm, 1e-6)), one), one);
}

/** Follows a fallback without a graph: `emitted` sees each op that it emits, and what the op infers. */
function traceFallback(
  fallback: NonNullable<Op['fallback']>,
  inputs: readonly Value[],
  attrs: Attrs,
  emitted: (op: Op, inputs: readonly Value[], outputs: readonly Value[], attrs: Attrs) => void = () =>
    undefined,
): Value[] {
  const sizes = new Map(inputs.flatMap(({ axes, shape }) => axes.map((label, i) => [label, shape[i]!])));
  const sizeOf = (label: string): number => {
    const size = /^\d+$/.test(label) ? Number(label) : sizes.get(label);
    if (size === undefined) throw new GraphError(`axis '${label}' is of none of the inputs`);
    return size;
  };
  let id = inputs.length;
  const emit: Emit = (name, values, attributes = {}, options = {}) => {
    const op = opOf(name);
    checkAttributes(op, attributes);
    const outputs = op.infer(values, attributes).map(
      (type, i): Value => ({
        ...type,
        dtype: options.dtypes?.[i] ?? type.dtype,
        layout: replicated,
        id: id++,
        name,
        shape: type.axes.map(sizeOf),
        kind: 'intermediate',
        role: null,
      }),
    );
    emitted(op, values, outputs, attributes);
    return outputs;
  };
  return fallback(emit, inputs, attrs);
}

/** Computes a fallback in float64. */
function evaluateFallback(
  fallback: NonNullable<Op['fallback']>,
  tensors: readonly Tensor[],
  attrs: Attrs,
): Float64Array[] {
  const inputs = tensors.map(
    ({ shape }, id): Value => ({
      id,
      name: `input ${id}`,
      axes: shape.map(String),
      shape,
      dtype: 'f32',
      layout: replicated,
      kind: 'input',
      role: null,
    }),
  );
  const allTensors = [...tensors];
  const results = traceFallback(fallback, inputs, attrs, (op, read, written, attributes) => {
    const data = op.evaluate(
      read.map(({ id }) => allTensors[id]!),
      attributes,
      written.map(({ shape }) => shape),
      { roundFactors: false },
    );
    written.forEach(({ id, shape }, i) => {
      allTensors[id] = { shape, data: data[i]! };
    });
  });
  return results.map(({ id }) => allTensors[id]!.data);
}
