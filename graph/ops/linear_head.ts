/** The output projection and its softmax in float64: what linear_cross_entropy and linear_logprobs share. */
import type { Attrs } from '../ir/graph.js';
import { elements } from '../ir/graph.js';
import { dtypeBytes } from '../ir/plan.js';
import { toBf16 } from '../ir/round.js';
import { logSumExp } from './cross_entropy.js';
import type { EvaluateMode, OpCall, Tensor } from './op.js';
import { flag, zeros } from './op.js';

/**
 * Returns log p of each label, 0 where it is negative, and the gradients dx [T, D] and dw [V, D] of Σ dlogprobs(t) · log p(t):
 * dZ = dlogprobs · (onehot − softmax(Z)), dx = dZ·w, dw = dZᵀ·x. Where `dlogprobs` is null these stay zero.
 */
export function evaluateHead(
  [x, w, labels]: readonly [Tensor, Tensor, Tensor],
  attrs: Attrs,
  mode: EvaluateMode,
  dlogprobs: ((t: number) => number) | null,
): { logprobs: Float64Array; dx: Float64Array; dw: Float64Array } {
  const width = x.shape[1]!;
  const f = factors(x, w, attrs, mode);
  const [dx, dw] = [zeros(x.shape), zeros(w.shape)];
  const logprobs = labels.data.map((label, t) => {
    if (label < 0) return 0;
    const row = logitsRow(f.x, f.w, width, t);
    const lse = logSumExp(row);
    if (dlogprobs !== null)
      row.forEach((z, v) => {
        const dz = f.round(dlogprobs(t) * ((v === label ? 1 : 0) - Math.exp(z - lse)));
        for (let j = 0; j < width; j++) {
          dx[t * width + j]! += dz * f.w[v * width + j]!;
          dw[v * width + j]! += dz * f.x[t * width + j]!;
        }
      });
    return row[label]! - lse;
  });
  return { logprobs, dx, dw };
}

/** Returns one row of logits; `x` and `w` are already rounded where the products are bf16. */
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

/** Returns the bytes that an op moves: the weight is read once for each chunk of rows and product. */
export function streamedBytes({ inputs, outputs, attrs }: OpCall): number {
  const chunks = Math.ceil(inputs[0]!.shape[0]! / Number(attrs.chunk_rows));
  const weight = elements(inputs[1]!.shape) * dtypeBytes[inputs[1]!.dtype];
  const passes = flag(attrs, 'dx') ? 2 : 1;
  const gradient = flag(attrs, 'dw') ? 2 * chunks * elements(inputs[1]!.shape) * 4 : 0;
  return (
    chunks * passes * weight + gradient + elements(inputs[0]!.shape) * 4 + elements(outputs[0]!.shape) * 4
  );
}
