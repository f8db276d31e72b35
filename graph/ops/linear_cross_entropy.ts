/**
 * linear_cross_entropy: the output projection and its cross-entropy as one op, a chunk of rows at a time, so that the
 * logits [T, V] never exist (Liger's fused linear cross-entropy; Wijmans et al. 2024, "Cut your losses"). Gradients
 * are made while a chunk is at hand: Z = x·wᵀ, dZ = weight · (softmax(Z) − onehot), dx = dZ·w, dw += dZᵀ·x.
 * linear_logprobs: log p of each target, the scoring form of the same. Its gradient, dZ = dlogp · (onehot − softmax(Z)), is
 * written in primitives, which no backend runs yet.
 */

import type { Attrs } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import { dtypeBytes } from '../ir/plan.js';
import { toBf16 } from '../ir/round.js';
import { crossEntropy, emitLogprobs, logSumExp, shiftRows } from './cross_entropy.js';
import type { EvaluateMode, Op, OpCall, Tensor } from './op.js';
import { demand, flag, zeros } from './op.js';
import { flagged, one } from './operands.js';
import { signatures } from './signatures.js';

/** One row of logits; `x` and `w` already rounded where the products are bf16. */
function logitsRow(x: Float64Array, w: Float64Array, width: number, t: number): Float64Array {
  const row = new Float64Array(w.length / width);
  for (let v = 0; v < row.length; v++) {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += x[t * width + j]! * w[v * width + j]!;
    row[v] = sum;
  }
  return row;
}

function factors(
  x: Tensor,
  w: Tensor,
  attrs: Attrs,
  mode: EvaluateMode,
): { x: Float64Array; w: Float64Array; round: (z: number) => number } {
  if (!mode.roundFactors || attrs.compute !== 'bf16') return { x: x.data, w: w.data, round: (z) => z };
  return { x: x.data.map(toBf16), w: w.data.map(toBf16), round: toBf16 };
}

/** The weight is read once for each chunk of rows and product. */
function streamedBytes({ inputs, outputs, attrs }: OpCall): number {
  const chunks = Math.ceil(inputs[0]!.shape[0]! / Number(attrs.chunk_rows));
  const weight = elements(inputs[1]!.shape) * dtypeBytes[inputs[1]!.dtype];
  const passes = flag(attrs, 'dx') ? 2 : 1;
  const gradient = flag(attrs, 'dw') ? 2 * chunks * elements(inputs[1]!.shape) * 4 : 0;
  return (
    chunks * passes * weight + gradient + elements(inputs[0]!.shape) * 4 + elements(outputs[0]!.shape) * 4
  );
}

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
    const made = emit('linear_cross_entropy', call.inputs, { ...call.attrs, dx, dw }, { dtypes });
    return [dx ? made[1]! : null, dw ? made.at(-1)! : null, null, null];
  },
  evaluate([x, w, labels, weight], attrs, _shapes, mode) {
    const width = x!.shape[1]!;
    const f = factors(x!, w!, attrs, mode);
    const dx = zeros(x!.shape);
    const dw = zeros(w!.shape);
    let loss = 0;
    labels!.data.forEach((label, t) => {
      if (label < 0) return;
      const row = logitsRow(f.x, f.w, width, t);
      const lse = logSumExp(row);
      loss += weight!.data[0]! * (lse - row[label]!);
      row.forEach((z, v) => {
        const dz = f.round(weight!.data[0]! * (Math.exp(z - lse) - (v === label ? 1 : 0)));
        for (let j = 0; j < width; j++) {
          dx[t * width + j]! += dz * f.w[v * width + j]!;
          dw[v * width + j]! += dz * f.x[t * width + j]!;
        }
      });
    });
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

export const linearLogprobs: Op = {
  name: 'linear_logprobs',
  operands: { inputs: one('x', 'w', 'targets'), outputs: one('logprobs') },
  attributes: { compute: 'text', chunk_rows: 'integer' },
  signatures: signatures('R R R -> R', 'S0 R S0 -> S0'),
  computes: true,
  infer(inputs) {
    const [x, w, targets] = inputs;
    demand(
      inputs.length === 3 &&
        x!.axes[1] === w!.axes[1] &&
        targets!.axes[0] === x!.axes[0] &&
        targets!.dtype === 'i32',
      'linear_logprobs',
      inputs,
      'x [T, D], w [V, D], targets i32 [T]',
    );
    return [{ axes: [x!.axes[0]!], dtype: 'f32' }];
  },
  flops: ({ inputs }) => 2 * elements(inputs[0]!.shape) * inputs[1]!.shape[0]!,
  bytes: streamedBytes,
  evaluate([x, w, targets], attrs, _shapes, mode) {
    const f = factors(x!, w!, attrs, mode);
    return [
      targets!.data.map((target, t) => {
        if (target < 0) return 0;
        const row = logitsRow(f.x, f.w, x!.shape[1]!, t);
        return row[target]! - logSumExp(row);
      }),
    ];
  },
  vjp(emit, { inputs: [x, w, targets] }, [dlogprobs], needs) {
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
      needs[0] ? emit('einsum', [dlogits!, w!], { spec: 'tv,vd->td' })[0]! : null,
      needs[1] ? emit('einsum', [dlogits!, x!], { spec: 'tv,td->vd' })[0]! : null,
      null,
    ];
  },
  float32: [0],
  fallback(emit, [x, w, targets]) {
    const [logits] = emit('einsum', [x!, w!], { spec: 'td,vd->tv' });
    return emitLogprobs(emit, logits!, targets!);
  },
};
