/**
 * The primitives that fallbacks are written in, with those of `arithmetic.ts` and `einsum.ts`. Small in number and obvious in
 * meaning, each with its own VJP, so that a fused op and its gradient have an independent oracle, and an op that a target has no
 * kernel for runs all the same (`passes/lower.ts`): slower, and with its intermediate values in memory.
 */
import { GraphError } from '../ir/error.js';
import type { Value } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import { binary, times, where } from './arithmetic.js';
import { einsum } from './einsum.js';
import { erf } from './erf.js';
import type { Emit, Op } from './op.js';
import { demand, num, text, zeros } from './op.js';
import { one } from './operands.js';
import { type Signature, signatures } from './signatures.js';

/** literal: a constant tensor with `axes` and `values`; a single value fills it. */
const literal: Op = {
  name: 'literal',
  operands: { inputs: [], outputs: one('y') },
  attributes: { values: 'numbers' },
  shapeAttributes: { axes: 'text' },
  signatures: signatures('-> R'),
  infer: (_inputs, attrs) => [{ axes: text(attrs, 'axes').split(' '), dtype: 'f32' }],
  flops: () => 0,
  vjp: () => [],
  evaluate(_inputs, attrs, [shape]) {
    const values = attrs.values as number[];
    return [zeros(shape!).map((_, i) => values[values.length === 1 ? 0 : i]!)];
  },
};

/** Dimensions of x and y that have the same axes before them are split alike: the heads of HK are the heads of H K. */
function reshapeSignatures(x: Value, axes: readonly string[]): Signature[] {
  const targets = dimensionsByPrefix(axes);
  return [
    ...signatures('R -> R', 'P -> P'),
    ...[...dimensionsByPrefix(x.axes)].flatMap(([prefix, dim]): Signature[] =>
      targets.has(prefix) ? [{ inputs: [`S${dim}`], outputs: [`S${targets.get(prefix)!}`] }] : [],
    ),
  ];
}

/** The dimensions of a value by the axes before them, multiplied out. Nothing splits a dimension of 1. */
function dimensionsByPrefix(axes: readonly string[]): Map<string, number> {
  const dimensions = new Map<string, number>();
  let prefix = '';
  axes.forEach((label, dim) => {
    if (label === '1') return;
    dimensions.set(prefix, dim);
    prefix += /^\d/.test(label) ? ` ${label} ` : label;
  });
  return dimensions;
}

const reshape: Op = {
  name: 'reshape',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: {},
  shapeAttributes: { axes: 'text' },
  signatures: ([x], attrs) => reshapeSignatures(x!, text(attrs, 'axes').split(' ')),
  infer: (_inputs, attrs) => [{ axes: text(attrs, 'axes').split(' '), dtype: 'f32' }],
  flops: () => 0,
  vjp: (emit, { inputs }, [dy]) => emit('reshape', [dy!], { axes: inputs[0]!.axes.join(' ') }),
  evaluate([x], _attrs, [shape]) {
    if (elements(shape!) !== x!.data.length)
      throw new GraphError(
        `reshape: [${x!.shape.join(', ')}] does not have the elements of [${shape!.join(', ')}]`,
      );
    return [x!.data.slice()];
  },
  inPlace: [{ output: 0, input: 0, when: null }],
  cheap: true,
};

/** shift: y = x + by. */
const shift: Op = {
  name: 'shift',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: { by: 'number' },
  signatures: signatures('R -> R', 'S -> S'),
  infer: ([x]) => [{ axes: x!.axes, dtype: 'f32' }],
  flops: ({ inputs }) => elements(inputs[0]!.shape),
  vjp: (_emit, _call, [dy]) => [dy!],
  evaluate: ([x], attrs) => [x!.data.map((v) => v + num(attrs, 'by'))],
  inPlace: [{ output: 0, input: 0, when: null }],
  cheap: true,
};

interface UnaryRule {
  readonly value: (x: number) => number;
  /** Gradient for input `x` and output `y`; null where it is zero. */
  readonly gradient: (emit: Emit, x: Value, y: Value, dy: Value) => Value | null;
}

const unaryRules: Readonly<Record<string, UnaryRule>> = {
  exp: { value: Math.exp, gradient: (emit, _x, y, dy) => times(emit, [dy, y]) },
  log: {
    value: Math.log,
    gradient: (emit, x, _y, dy) => times(emit, [dy, emit('unary', [x], { fn: 'reciprocal' })[0]!]),
  },
  reciprocal: { value: (x) => 1 / x, gradient: (emit, _x, y, dy) => times(emit, [dy, y, y], -1) },
  rsqrt: { value: (x) => 1 / Math.sqrt(x), gradient: (emit, _x, y, dy) => times(emit, [dy, y, y, y], -0.5) },
  sigmoid: {
    value: (x) => 1 / (1 + Math.exp(-x)),
    gradient(emit, _x, y, dy) {
      const [minus] = emit('scale', [y], { alpha: -1 });
      const [rest] = emit('shift', [minus!], { by: 1 });
      return times(emit, [dy, y, rest!]);
    },
  },
  sqrt: {
    value: Math.sqrt,
    gradient: (emit, _x, y, dy) => times(emit, [dy, emit('unary', [y], { fn: 'reciprocal' })[0]!], 0.5),
  },
  tanh: {
    value: Math.tanh,
    gradient(emit, _x, y, dy) {
      const [rest] = emit('shift', [times(emit, [y, y], -1)], { by: 1 });
      return times(emit, [dy, rest!]);
    },
  },
  erf: {
    value: erf,
    gradient(emit, x, _y, dy) {
      const density = emit('unary', [times(emit, [x, x], -1)], { fn: 'exp' })[0]!;
      return times(emit, [dy, density], 2 / Math.sqrt(Math.PI));
    },
  },
  abs: {
    value: Math.abs,
    gradient: (emit, x, _y, dy) => times(emit, [dy, emit('unary', [x], { fn: 'sign' })[0]!]),
  },
  sign: { value: Math.sign, gradient: () => null },
  is_finite: { value: (x) => (Number.isFinite(x) ? 1 : 0), gradient: () => null },
};

/** unary: y = fn(x), element by element. */
const unary: Op = {
  name: 'unary',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: { fn: 'text' },
  signatures: signatures('R -> R', 'S -> S'),
  infer([x], attrs) {
    demand(
      unaryRules[text(attrs, 'fn')] !== undefined,
      'unary',
      [x!],
      `fn to be one of ${Object.keys(unaryRules).join(', ')}`,
    );
    return [{ axes: x!.axes, dtype: 'f32' }];
  },
  flops: ({ inputs }) => elements(inputs[0]!.shape),
  vjp: (emit, { inputs, outputs, attrs }, [dy]) => [
    unaryRules[text(attrs, 'fn')]!.gradient(emit, inputs[0]!, outputs[0]!, dy!),
  ],
  evaluate: ([x], attrs) => [x!.data.map(unaryRules[text(attrs, 'fn')]!.value)],
  inPlace: [{ output: 0, input: 0, when: null }],
  cheap: true,
};

/**
 * softmax_shift: y = the largest element along the last axis, which a softmax subtracts so that no exponential overflows. It
 * cancels out of the softmax, and so no gradient flows through it.
 */
const softmaxShift: Op = {
  name: 'softmax_shift',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: {},
  signatures: ([x]) => [
    ...signatures('R -> R'),
    ...x!.axes.slice(0, -1).flatMap((_, dim) => signatures(`S${dim} -> S${dim}`)),
  ],
  infer([x]) {
    demand(x!.axes.length > 1, 'softmax_shift', [x!], 'an input with two axes or more');
    return [{ axes: x!.axes.slice(0, -1), dtype: 'f32' }];
  },
  flops: ({ inputs }) => elements(inputs[0]!.shape),
  vjp: () => [null],
  evaluate([x], _attrs, [shape]) {
    const width = x!.shape.at(-1)!;
    const largest = (from: number) => x!.data.subarray(from, from + width).reduce((a, b) => Math.max(a, b));
    return [zeros(shape!).map((_, row) => largest(row * width))];
  },
  cheap: true,
};

/** pick: y [1] = x[index], of a list of numbers such as an optimizer's scalars. */
const pick: Op = {
  name: 'pick',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: { index: 'integer' },
  signatures: signatures('R -> R', 'P -> P'),
  infer([x], attrs) {
    const index = num(attrs, 'index');
    demand(
      x!.shape.length === 1 && index >= 0 && index < x!.shape[0]!,
      'pick',
      [x!],
      `a list with an element ${index}`,
    );
    return [{ axes: ['1'], dtype: 'f32' }];
  },
  flops: () => 0,
  vjp(emit, { inputs, attrs }, [dy]) {
    const [x] = inputs;
    const values = Array.from({ length: x!.shape[0]! }, (_, i) => (i === attrs.index ? 1 : 0));
    const [place] = emit('literal', [], { axes: x!.axes.join(' '), values });
    return emit('einsum', [dy!, place!], { spec: 'z,a->a' });
  },
  evaluate: ([x], attrs) => [Float64Array.of(x!.data[num(attrs, 'index')]!)],
};

/** one_hot: y[t, v] = 1 where ids[t] = v, along a new last `axis`; a negative id makes a row of zeros. */
const oneHot: Op = {
  name: 'one_hot',
  operands: { inputs: one('ids'), outputs: one('y') },
  attributes: {},
  shapeAttributes: { axis: 'text' },
  signatures: signatures('R -> R', 'S -> S'),
  infer: ([ids], attrs) => [{ axes: [...ids!.axes, text(attrs, 'axis')], dtype: 'f32' }],
  flops: () => 0,
  evaluate([ids], _attrs, [shape]) {
    const width = shape!.at(-1)!;
    const y = zeros(shape!);
    ids!.data.forEach((id, t) => {
      if (id >= 0) y[t * width + id] = 1;
    });
    return [y];
  },
};

/** span_mask: y[t, s] = 1 where token t sees key s. */
const spanMask: Op = {
  name: 'span_mask',
  operands: { inputs: one('spans'), outputs: one('y') },
  attributes: {},
  shapeAttributes: { axis: 'text' },
  signatures: signatures('R -> R'),
  infer: (_inputs, attrs) => [{ axes: [text(attrs, 'axis'), text(attrs, 'axis')], dtype: 'f32' }],
  flops: () => 0,
  evaluate([spans], _attrs, [shape]) {
    const tokens = shape![0]!;
    const y = zeros(shape!);
    for (let t = 0; t < tokens; t++) {
      const [first, last] = [spans!.data[2 * t]!, spans!.data[2 * t + 1]!];
      y.fill(1, t * tokens + first, t * tokens + last + 1);
    }
    return [y];
  },
};

/** All primitives, in the order of docs/plan-format.md. */
export const primitives: readonly Op[] = [
  literal,
  einsum,
  reshape,
  shift,
  unary,
  binary,
  where,
  pick,
  softmaxShift,
  oneHot,
  spanMask,
];
