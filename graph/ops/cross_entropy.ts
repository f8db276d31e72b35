/**
 * cross_entropy: loss = weight · Σ_t −log softmax(logits[t])[labels[t]] over labels ≥ 0, and with `grad` also
 * dlogits = weight · (softmax − onehot), 0 where there is no label. `weight` is 1 ÷ supervised tokens of the step.
 */
import type { Value } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import type { Emit, Op } from './op.js';
import { demand, flag, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

/** Log of Σ exp of a row, and its largest element. */
export function logSumExp(row: Float64Array): number {
  const top = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return top + Math.log(row.reduce((sum, z) => sum + Math.exp(z - top), 0));
}

export const crossEntropy: Op = {
  name: 'cross_entropy',
  operands: {
    inputs: one('logits', 'labels', 'weight'),
    outputs: [...one('loss'), { name: 'dlogits', arity: 'one', when: 'grad' }],
  },
  attributes: { grad: 'flag', accumulate: 'text' },
  signatures: signatures('R R R -> R R', 'S0 S0 R -> P S0'),
  gradientFlags: ['grad'],
  weightInput: 2,
  infer(inputs, attrs) {
    const [logits, labels, weight] = inputs;
    demand(
      inputs.length === 3 &&
        logits!.axes.length === 2 &&
        labels!.axes[0] === logits!.axes[0] &&
        labels!.dtype === 'i32' &&
        weight!.shape[0] === 1,
      'cross_entropy',
      inputs,
      'logits [T, V], labels i32 [T], weight [1]',
    );
    const loss = { axes: ['1'], dtype: 'f32' as const };
    return flag(attrs, 'grad') ? [loss, { axes: logits!.axes, dtype: 'f32' }] : [loss];
  },
  flops: ({ inputs, attrs }) => (flag(attrs, 'grad') ? 6 : 4) * elements(inputs[0]!.shape),
  vjp(emit, call, _grads, needs) {
    const [logits] = call.inputs;
    const outputs = emit(
      'cross_entropy',
      call.inputs,
      { ...call.attrs, grad: true },
      { dtypes: ['f32', logits!.dtype] },
    );
    return [needs[0] ? outputs[1]! : null, null, null];
  },
  evaluate([logits, labels, weight], attrs) {
    const width = logits!.shape[1]!;
    const scale = weight!.data[0]!;
    const dlogits = zeros(logits!.shape);
    let loss = 0;
    labels!.data.forEach((label, t) => {
      if (label < 0) return;
      const row = logits!.data.subarray(t * width, (t + 1) * width);
      const lse = logSumExp(row);
      loss += scale * (lse - row[label]!);
      row.forEach((z, j) => {
        dlogits[t * width + j] = scale * (Math.exp(z - lse) - (j === label ? 1 : 0));
      });
    });
    return flag(attrs, 'grad') ? [Float64Array.of(loss), dlogits] : [Float64Array.of(loss)];
  },
  float32: [0],
  accumulates: () => [0],
  inPlace: [{ output: 1, input: 0, when: null }],
  fallback(emit, [logits, labels, weight]) {
    const [logprobs] = emitLogprobs(emit, logits!, labels!);
    const [sum] = emit('einsum', [logprobs!, weight!], { spec: 't,o->o' });
    return emit('scale', [sum!], { alpha: -1 });
  },
};

/** Rows less their largest element, of which no exponential overflows. */
export function shiftRows(emit: Emit, logits: Value): Value {
  const [largest] = emit('softmax_shift', [logits]);
  const [ones] = emit('literal', [], { axes: logits.axes[1]!, values: [-1] });
  const [down] = emit('einsum', [largest!, ones!], { spec: 't,v->tv' });
  return emit('add', [logits, down!])[0]!;
}

/** log softmax(logits)[t, targets[t]], 0 where the target is negative, in primitives. */
export function emitLogprobs(emit: Emit, logits: Value, targets: Value): Value[] {
  const [pick] = emit('one_hot', [targets], { axis: logits.axes[1]! });
  const shiftedLogits = shiftRows(emit, logits);
  const [exps] = emit('unary', [shiftedLogits], { fn: 'exp' });
  const [sums] = emit('einsum', [exps!], { spec: 'tv->t' });
  const [lse] = emit('unary', [sums!], { fn: 'log' });
  const [targetLse] = emit('einsum', [lse!, pick!], { spec: 't,tv->t' });
  const [minus] = emit('scale', [targetLse!], { alpha: -1 });
  const [targetLogits] = emit('einsum', [shiftedLogits, pick!], { spec: 'tv,tv->t' });
  return emit('add', [targetLogits!, minus!]);
}
