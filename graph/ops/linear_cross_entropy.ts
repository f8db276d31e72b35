/**
 * linear_cross_entropy: the output projection and its cross-entropy as one op, a chunk of rows at a time, so that the
 * logits [T, V] never exist (Liger's fused linear cross-entropy; Wijmans et al. 2024, "Cut your losses"). Gradients
 * are made while a chunk is in memory: Z = x·wᵀ, dZ = weight · (softmax(Z) − onehot), dx = dZ·w, dw += dZᵀ·x.
 */

import { crossEntropy } from './cross_entropy.js';
import { evaluateHead, streamedBytes } from './linear_head.js';
import type { Op } from './op.js';
import { demand, flag } from './op.js';
import { flagged, one } from './operands.js';
import { signatures } from './signatures.js';

export const linearCrossEntropy: Op = {
  name: 'linear_cross_entropy',
  operands: {
    inputs: one('x', 'w', 'labels', 'weight'),
    outputs: [...one('loss'), flagged('dx'), flagged('dw')],
  },
  attributes: { compute: 'text', dx: 'flag', dw: 'flag', chunk_rows: 'integer', accumulate: 'text' },
  signatures: signatures('R R R R -> R R R', 'S0 R S0 R -> P S0 P'),
  computes: true,
  gradientFlags: ['dx', 'dw'],
  weightInput: 3,
  infer(inputs, attrs) {
    const [x, w, labels, weight] = inputs;
    demand(
      inputs.length === 4 &&
        x!.axes[1] === w!.axes[1] &&
        labels!.axes[0] === x!.axes[0] &&
        labels!.dtype === 'i32' &&
        weight!.shape[0] === 1,
      'linear_cross_entropy',
      inputs,
      'x [T, D], w [V, D], labels i32 [T], weight [1]',
    );
    const types = [{ axes: ['1'], dtype: 'f32' as const }];
    if (flag(attrs, 'dx')) types.push({ axes: [...x!.axes], dtype: 'f32' });
    if (flag(attrs, 'dw')) types.push({ axes: [...w!.axes], dtype: 'f32' });
    return types;
  },
  flops({ inputs, attrs }) {
    const products = 1 + (flag(attrs, 'dx') ? 1 : 0) + (flag(attrs, 'dw') ? 1 : 0);
    const logits = inputs[0]!.shape[0]! * inputs[1]!.shape[0]!;
    return products * 2 * logits * inputs[0]!.shape[1]! + 6 * logits;
  },
  bytes: streamedBytes,
  vjp(emit, call, _grads, needs) {
    const [dx, dw] = [needs[0]!, needs[1]!];
    const dtypes = ['f32' as const, ...(dx ? [call.inputs[0]!.dtype] : []), ...(dw ? ['f32' as const] : [])];
    const outputs = emit('linear_cross_entropy', call.inputs, { ...call.attrs, dx, dw }, { dtypes });
    return [dx ? outputs[1]! : null, dw ? outputs.at(-1)! : null, null, null];
  },
  evaluate([x, w, labels, weight], attrs, _shapes, mode) {
    const scale = weight!.data[0]!;
    const wantsGradient = flag(attrs, 'dx') || flag(attrs, 'dw');
    const { logprobs, dx, dw } = evaluateHead(
      [x!, w!, labels!],
      attrs,
      mode,
      wantsGradient ? () => -scale : null,
    );
    const loss = logprobs.reduce((sum, logp) => sum - scale * logp, 0);
    return [Float64Array.of(loss), ...(flag(attrs, 'dx') ? [dx] : []), ...(flag(attrs, 'dw') ? [dw] : [])];
  },
  float32: [0],
  // The loss, and dw where there is one; dx is this micro-batch's own.
  accumulates: (attrs) => (flag(attrs, 'dw') ? [0, flag(attrs, 'dx') ? 2 : 1] : [0]),
  fallback(emit, [x, w, labels, weight], attrs) {
    const [logits] = emit('einsum', [x!, w!], { spec: 'td,vd->tv' });
    return crossEntropy.fallback!(emit, [logits!, labels!, weight!], attrs);
  },
};
