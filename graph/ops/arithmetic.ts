/** binary and where: the primitives of two values or more, element by element; and what gradients share. */
import type { Value } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import type { Emit, Op } from './op.js';
import { demand, sameAxes, text } from './op.js';
import { one } from './operands.js';
import { type Signature, signatures } from './signatures.js';

const letters = (value: Value): string => 'abcdefgh'.slice(0, value.axes.length);

/** The elementwise product of values of one shape, times alpha. */
export function times(emit: Emit, values: readonly Value[], alpha = 1): Value {
  const all = letters(values[0]!);
  const [product] = emit('einsum', values, { spec: `${values.map(() => all).join(',')}->${all}` });
  return alpha === 1 ? product! : emit('scale', [product!], { alpha })[0]!;
}

const apply = (emit: Emit, fn: string, a: Value, b: Value): Value => emit('binary', [a, b], { fn })[0]!;
const negate = (emit: Emit, x: Value): Value => emit('scale', [x], { alpha: -1 })[0]!;

/** Returns whether a value can be used for all elements of another one, as an f32 [1] can. */
const isOne = (value: Value): boolean => elements(value.shape) === 1;

/** The gradient of `value` where it was used for every element of `grad`. */
function gradientFor(emit: Emit, value: Value, grad: Value): Value {
  if (sameAxes(value, grad)) return grad;
  const [unit] = emit('literal', [], { axes: value.axes.join(' '), values: [1] });
  const axes = letters(grad);
  const result = 'xyz'.slice(-value.axes.length);
  return emit('einsum', [grad, unit!], { spec: `${axes},${result}->${result}` })[0]!;
}

/** Throws unless `value` is like `result` or one number. */
function demandBroadcast(op: string, inputs: readonly Value[], result: Value, value: Value): void {
  demand(
    sameAxes(result, value) || isOne(value),
    op,
    inputs,
    `${value.name} to have the axes of ${result.name}, or one element`,
  );
}

interface BinaryRule {
  readonly value: (a: number, b: number) => number;
  /** The signatures of summands: the function is linear in them. */
  readonly linear: readonly Signature[];
  /** Gradients for inputs `a` and `b` and output `y`, of the shape of y; null where one is zero. */
  readonly gradient: (emit: Emit, a: Value, b: Value, y: Value, dy: Value) => [Value | null, Value | null];
}

/** `dy` where a > b, and elsewhere. */
function splitByGreater(emit: Emit, a: Value, b: Value, dy: Value): [Value, Value] {
  const greater = apply(emit, 'greater', a, b);
  const [other] = emit('shift', [negate(emit, greater)], { by: 1 });
  return [times(emit, [dy, greater]), times(emit, [dy, other!])];
}

const binaryRules: Readonly<Record<string, BinaryRule>> = {
  add: {
    value: (a, b) => a + b,
    linear: signatures('P P -> P'),
    gradient: (_emit, _a, _b, _y, dy) => [dy, dy],
  },
  subtract: {
    value: (a, b) => a - b,
    linear: signatures('P P -> P'),
    gradient: (emit, _a, _b, _y, dy) => [dy, negate(emit, dy)],
  },
  multiply: {
    value: (a, b) => a * b,
    linear: signatures('P R -> P', 'R P -> P'),
    gradient: (emit, a, b, _y, dy) => [apply(emit, 'multiply', dy, b), times(emit, [dy, a])],
  },
  divide: {
    value: (a, b) => a / b,
    linear: signatures('P R -> P'),
    gradient: (emit, _a, b, y, dy) => [
      apply(emit, 'divide', dy, b),
      apply(emit, 'divide', times(emit, [dy, y], -1), b),
    ],
  },
  maximum: {
    value: Math.max,
    linear: [],
    gradient: (emit, a, b, _y, dy) => splitByGreater(emit, a, b, dy),
  },
  minimum: {
    value: Math.min,
    linear: [],
    gradient: (emit, a, b, _y, dy) => {
      const [whereGreater, elsewhere] = splitByGreater(emit, a, b, dy);
      return [elsewhere, whereGreater];
    },
  },
  greater: { value: (a, b) => (a > b ? 1 : 0), linear: [], gradient: () => [null, null] },
};

/** binary: y = fn(a, b), element by element; b may be one number for all. */
export const binary: Op = {
  name: 'binary',
  operands: { inputs: one('a', 'b'), outputs: one('y') },
  attributes: { fn: 'text' },
  signatures: ([a, b], attrs) => [
    ...(sameAxes(a!, b!) ? signatures('R R -> R', 'S S -> S') : signatures('R R -> R', 'S R -> S')),
    ...binaryRules[text(attrs, 'fn')]!.linear,
  ],
  infer(inputs, attrs) {
    const functions = Object.keys(binaryRules);
    demand(
      functions.includes(text(attrs, 'fn')),
      'binary',
      inputs,
      `fn to be one of ${functions.join(', ')}, not ${text(attrs, 'fn')}`,
    );
    demand(inputs.length === 2, 'binary', inputs, 'two inputs');
    const [a, b] = inputs;
    demandBroadcast('binary', inputs, a!, b!);
    return [{ axes: a!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => elements(outputs[0]!.shape),
  vjp(emit, { inputs, outputs, attrs }, [dy], needs) {
    const [a, b] = inputs;
    const grads = binaryRules[text(attrs, 'fn')]!.gradient(emit, a!, b!, outputs[0]!, dy!);
    return grads.map((grad, i) => (needs[i] && grad !== null ? gradientFor(emit, inputs[i]!, grad) : null));
  },
  evaluate([a, b], attrs) {
    const { value } = binaryRules[text(attrs, 'fn')]!;
    const single = b!.data.length === 1;
    return [a!.data.map((x, i) => value(x, b!.data[single ? 0 : i]!))];
  },
  inPlace: [{ output: 0, input: 0, when: null }],
  cheap: true,
};

/** where: y = a where the condition is not zero, b elsewhere; the condition may be one number for all. */
export const where: Op = {
  name: 'where',
  operands: { inputs: one('condition', 'a', 'b'), outputs: one('y') },
  attributes: {},
  signatures: ([condition, a]) =>
    sameAxes(condition!, a!)
      ? signatures('R R R -> R', 'S S S -> S', 'R P P -> P')
      : signatures('R R R -> R', 'R S S -> S', 'R P P -> P'),
  infer(inputs) {
    const [condition, a, b] = inputs;
    demand(
      inputs.length === 3 && sameAxes(a!, b!),
      'where',
      inputs,
      'a condition, and two inputs with the same axes',
    );
    demandBroadcast('where', inputs, a!, condition!);
    return [{ axes: a!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => elements(outputs[0]!.shape),
  vjp(emit, { inputs }, [dy], needs) {
    const [condition, a] = inputs;
    const [zero] = emit('literal', [], { axes: a!.axes.join(' '), values: [0] });
    return [
      null,
      needs[1] ? emit('where', [condition!, dy!, zero!])[0]! : null,
      needs[2] ? emit('where', [condition!, zero!, dy!])[0]! : null,
    ];
  },
  evaluate([condition, a, b]) {
    const single = condition!.data.length === 1;
    return [a!.data.map((x, i) => (condition!.data[single ? 0 : i] !== 0 ? x : b!.data[i]!))];
  },
  inPlace: [{ output: 0, input: 1, when: null }],
  cheap: true,
};
