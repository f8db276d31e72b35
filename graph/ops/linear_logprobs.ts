/**
 * linear_logprobs: log p of each target under softmax(x·wᵀ), 0 where the target is negative, a chunk of rows at a time as
 * linear_cross_entropy is. Backward: dZ = dlogprobs · (onehot − softmax(Z)), dx = dZ·w, dw += dZᵀ·x.
 */
import type { Value } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import { emitLogprobs, shiftRows } from './cross_entropy.js';
import { evaluateHead, streamedBytes } from './linear_head.js';
import type { Op } from './op.js';
import { demand, flag } from './op.js';
import { flagged, one } from './operands.js';
import { signatures } from './signatures.js';

const isHead = (x: Value, w: Value, targets: Value): boolean =>
  x.axes[1] === w.axes[1] && targets.axes[0] === x.axes[0] && targets.dtype === 'i32';

export const linearLogprobs: Op = {
  name: 'linear_logprobs',
  operands: { inputs: one('x', 'w', 'targets'), outputs: one('logprobs') },
  attributes: { compute: 'text', chunk_rows: 'integer' },
  signatures: signatures('R R R -> R', 'S0 R S0 -> S0'),
  computes: true,
  infer(inputs) {
    const [x, w, targets] = inputs;
    demand(
      inputs.length === 3 && isHead(x!, w!, targets!),
      'linear_logprobs',
      inputs,
      'x [T, D], w [V, D], targets i32 [T]',
    );
    return [{ axes: [x!.axes[0]!], dtype: 'f32' }];
  },
  flops: ({ inputs }) => 2 * elements(inputs[0]!.shape) * inputs[1]!.shape[0]!,
  bytes: streamedBytes,
  evaluate: ([x, w, targets], attrs, _shapes, mode) => [
    evaluateHead([x!, w!, targets!], attrs, mode, null).logprobs,
  ],
  vjp(emit, { inputs, attrs }, [dlogprobs], needs) {
    const [dx, dw] = [needs[0]!, needs[1]!];
    const dtypes = [...(dx ? [inputs[0]!.dtype] : []), ...(dw ? ['f32' as const] : [])];
    const grads = emit(
      'linear_logprobs_grad',
      [...inputs, dlogprobs!],
      { ...attrs, dx, dw, accumulate: 'never' },
      { dtypes },
    );
    return [dx ? grads[0]! : null, dw ? grads.at(-1)! : null, null];
  },
  float32: [0],
  fallback(emit, [x, w, targets]) {
    const [logits] = emit('einsum', [x!, w!], { spec: 'td,vd->tv' });
    return emitLogprobs(emit, logits!, targets!);
  },
};

export const linearLogprobsGrad: Op = {
  name: 'linear_logprobs_grad',
  operands: { inputs: one('x', 'w', 'targets', 'dlogprobs'), outputs: [flagged('dx'), flagged('dw')] },
  attributes: { compute: 'text', dx: 'flag', dw: 'flag', chunk_rows: 'integer', accumulate: 'text' },
  signatures: signatures('R R R R -> R R', 'S0 R S0 S0 -> S0 P'),
  computes: true,
  infer(inputs, attrs) {
    const [x, w, targets, dlogprobs] = inputs;
    demand(
      inputs.length === 4 && isHead(x!, w!, targets!) && dlogprobs!.axes.join() === x!.axes[0],
      'linear_logprobs_grad',
      inputs,
      'x [T, D], w [V, D], targets i32 [T], dlogprobs [T]',
    );
    return [
      ...(flag(attrs, 'dx') ? [{ axes: x!.axes, dtype: 'f32' as const }] : []),
      ...(flag(attrs, 'dw') ? [{ axes: w!.axes, dtype: 'f32' as const }] : []),
    ];
  },
  flops({ inputs, outputs }) {
    const logits = inputs[0]!.shape[0]! * inputs[1]!.shape[0]!;
    return (1 + outputs.length) * 2 * logits * inputs[0]!.shape[1]! + 6 * logits;
  },
  bytes: streamedBytes,
  evaluate([x, w, targets, dlogprobs], attrs, _shapes, mode) {
    const { dx, dw } = evaluateHead([x!, w!, targets!], attrs, mode, (t) => dlogprobs!.data[t]!);
    return [...(flag(attrs, 'dx') ? [dx] : []), ...(flag(attrs, 'dw') ? [dw] : [])];
  },
  accumulates: (attrs) => (flag(attrs, 'dw') ? [flag(attrs, 'dx') ? 1 : 0] : []),
  fallback(emit, [x, w, targets, dlogprobs], attrs) {
    const [logits] = emit('einsum', [x!, w!], { spec: 'td,vd->tv' });
    const [exps] = emit('unary', [shiftRows(emit, logits!)], { fn: 'exp' });
    const [sums] = emit('einsum', [exps!], { spec: 'tv->t' });
    const [inverse] = emit('unary', [sums!], { fn: 'reciprocal' });
    const [onehot] = emit('one_hot', [targets!], { axis: logits!.axes[1]! });
    // 0 where there is no target, and no gradient.
    const [isTarget] = emit('einsum', [onehot!], { spec: 'tv->t' });
    const [softmax] = emit('einsum', [exps!, inverse!, isTarget!], { spec: 'tv,t,t->tv' });
    const [minus] = emit('scale', [softmax!], { alpha: -1 });
    const [difference] = emit('add', [onehot!, minus!]);
    const [dlogits] = emit('einsum', [dlogprobs!, difference!], { spec: 't,tv->tv' });
    return [
      ...(flag(attrs, 'dx') ? emit('einsum', [dlogits!, w!], { spec: 'tv,vd->td' }) : []),
      ...(flag(attrs, 'dw') ? emit('einsum', [dlogits!, x!], { spec: 'tv,td->vd' }) : []),
    ];
  },
};
