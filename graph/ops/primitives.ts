/**
 * The primitives that fallbacks are written in. They exist in the interpreter alone: no backend runs them. Small in
 * number and obvious in meaning, each with its own VJP, so that a fused op and its gradient have an independent oracle.
 */
import { GraphError } from '../ir/error.js';
import type { Value } from '../ir/graph.js';
import { elements, replicated } from '../ir/graph.js';
import type { Emit, Op } from './op.js';
import { demand, num, text, zeros } from './op.js';

/** literal: a constant tensor with `axes` and `values`; a single value fills it. */
const literal: Op = {
  name: 'literal',
  attributes: { axes: 'text', values: 'numbers' },
  infer: (_inputs, attrs) => [{ axes: text(attrs, 'axes').split(' '), dtype: 'f32', placement: replicated }],
  flops: () => 0,
  vjp: () => [],
  evaluate(_inputs, attrs, [shape]) {
    const values = attrs.values as number[];
    return [zeros(shape!).map((_, i) => values[values.length === 1 ? 0 : i]!)];
  },
};

interface Spec {
  readonly operands: string[];
  readonly result: string;
}

function parseSpec(spec: string): Spec {
  const [left, right] = spec.split('->') as [string, string];
  return { operands: left.split(','), result: right };
}

/** einsum: products of operands, summed over the letters the result does not name. No letter twice in an operand. */
const einsum: Op = {
  name: 'einsum',
  attributes: { spec: 'text' },
  infer(inputs, attrs) {
    const { operands, result } = parseSpec(text(attrs, 'spec'));
    demand(
      inputs.length === operands.length,
      'einsum',
      inputs,
      `${operands.length} operands for ${text(attrs, 'spec')}`,
    );
    const labels = new Map<string, { label: string; size: number }>();
    operands.forEach((letters, i) => {
      demand(
        inputs[i]!.axes.length === letters.length,
        'einsum',
        inputs,
        `operand ${i} to have axes ${letters}`,
      );
      [...letters].forEach((letter, dim) => {
        const [label, size] = [inputs[i]!.axes[dim]!, inputs[i]!.shape[dim]!];
        const known = labels.get(letter);
        demand(known === undefined || known.size === size, 'einsum', inputs, `one size for ${letter}`);
        if (known === undefined || /^\d/.test(known.label)) labels.set(letter, { label, size });
      });
    });
    return [
      { axes: [...result].map((letter) => labels.get(letter)!.label), dtype: 'f32', placement: replicated },
    ];
  },
  flops: ({ inputs, outputs }) => Math.max(...[...inputs, ...outputs].map((v) => elements(v.shape))),
  vjp(emit, { inputs, attrs }, [dy], needs) {
    const { operands, result } = parseSpec(text(attrs, 'spec'));
    return inputs.map((input, i) => {
      if (!needs[i]) return null;
      const others = inputs.filter((_, j) => j !== i);
      const spec = [result, ...operands.filter((_, j) => j !== i)];
      const args: Value[] = [dy!, ...others];
      // A letter that only this operand has was summed away: its gradient is the same all along it.
      [...operands[i]!].forEach((letter, dim) => {
        if (spec.some((letters) => letters.includes(letter))) return;
        args.push(emit('literal', [], { axes: input.axes[dim]!, values: [1] })[0]!);
        spec.push(letter);
      });
      return emit('einsum', args, { spec: `${spec.join(',')}->${operands[i]!}` })[0]!;
    });
  },
  evaluate(inputs, attrs, [shape]) {
    const { operands, result } = parseSpec(text(attrs, 'spec'));
    const letters = [...new Set([...result, ...operands.join('')])];
    const sizes = letters.map((letter) => {
      const i = operands.findIndex((operand) => operand.includes(letter));
      return inputs[i]!.shape[operands[i]!.indexOf(letter)]!;
    });
    const strides = (operand: string, dims: readonly number[]) =>
      letters.map((letter) => {
        const at = operand.indexOf(letter);
        return at < 0 ? 0 : elements(dims.slice(at + 1));
      });
    const steps = operands.map((operand, i) => strides(operand, inputs[i]!.shape));
    const out = strides(result, shape!);
    const y = zeros(shape!);
    const index = new Array<number>(letters.length).fill(0);
    const total = elements(sizes);
    const offset = (step: readonly number[]) => step.reduce((sum, stride, d) => sum + stride * index[d]!, 0);
    for (let n = 0; n < total; n++) {
      let product = 1;
      steps.forEach((step, i) => {
        product *= inputs[i]!.data[offset(step)]!;
      });
      y[offset(out)]! += product;
      for (let d = letters.length - 1; d >= 0; d--) {
        index[d]!++;
        if (index[d]! < sizes[d]!) break;
        index[d] = 0;
      }
    }
    return [y];
  },
};

const reshape: Op = {
  name: 'reshape',
  attributes: { axes: 'text' },
  infer: ([x], attrs) => [{ axes: text(attrs, 'axes').split(' '), dtype: 'f32', placement: x!.placement }],
  flops: () => 0,
  vjp: (emit, { inputs }, [dy]) => emit('reshape', [dy!], { axes: inputs[0]!.axes.join(' ') }),
  evaluate([x], _attrs, [shape]) {
    if (elements(shape!) !== x!.data.length)
      throw new GraphError(
        `reshape: [${x!.shape.join(', ')}] does not have the elements of [${shape!.join(', ')}]`,
      );
    return [x!.data.slice()];
  },
};

/** shift: y = x + by. */
const shift: Op = {
  name: 'shift',
  attributes: { by: 'number' },
  infer: ([x]) => [{ axes: x!.axes, dtype: 'f32', placement: x!.placement }],
  flops: ({ inputs }) => elements(inputs[0]!.shape),
  vjp: (_emit, _call, [dy]) => [dy!],
  evaluate: ([x], attrs) => [x!.data.map((v) => v + num(attrs, 'by'))],
};

interface UnaryRule {
  readonly value: (x: number) => number;
  /** Gradient for input `x` and output `y`. */
  readonly gradient: (emit: Emit, x: Value, y: Value, dy: Value) => Value;
}

const letters = (value: Value): string => 'abcdefgh'.slice(0, value.axes.length);

/** The elementwise product of values of one shape, times alpha. */
function times(emit: Emit, values: readonly Value[], alpha = 1): Value {
  const all = letters(values[0]!);
  const [product] = emit('einsum', values, { spec: `${values.map(() => all).join(',')}->${all}` });
  return alpha === 1 ? product! : emit('scale', [product!], { alpha })[0]!;
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
};

const unary: Op = {
  name: 'unary',
  attributes: { fn: 'text' },
  infer([x], attrs) {
    demand(
      unaryRules[text(attrs, 'fn')] !== undefined,
      'unary',
      [x!],
      `fn to be one of ${Object.keys(unaryRules).join(', ')}`,
    );
    return [{ axes: x!.axes, dtype: 'f32', placement: x!.placement }];
  },
  flops: ({ inputs }) => elements(inputs[0]!.shape),
  vjp: (emit, { inputs, outputs, attrs }, [dy]) => [
    unaryRules[text(attrs, 'fn')]!.gradient(emit, inputs[0]!, outputs[0]!, dy!),
  ],
  evaluate: ([x], attrs) => [x!.data.map(unaryRules[text(attrs, 'fn')]!.value)],
};

/** one_hot: y[t, v] = 1 where ids[t] = v, along a new last `axis`; a negative id makes a row of zeros. */
const oneHot: Op = {
  name: 'one_hot',
  attributes: { axis: 'text' },
  infer: ([ids], attrs) => [
    { axes: [...ids!.axes, text(attrs, 'axis')], dtype: 'f32', placement: ids!.placement },
  ],
  flops: () => 0,
  vjp: () => [null],
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
  attributes: { axis: 'text' },
  infer: ([spans], attrs) => [
    { axes: [text(attrs, 'axis'), text(attrs, 'axis')], dtype: 'f32', placement: spans!.placement },
  ],
  flops: () => 0,
  vjp: () => [null],
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

export const primitives: readonly Op[] = [literal, einsum, reshape, shift, unary, oneHot, spanMask];
