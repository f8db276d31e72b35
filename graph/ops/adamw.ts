/**
 * adamw (Loshchilov and Hutter 2019, as torch.optim.AdamW), after g is clipped: p ← p − lr·λ·p, m ← β₁·m + (1 − β₁)·g,
 * v ← β₂·v + (1 − β₂)·g², p ← p − lr·m̂ ÷ (√v̂ + ε) with m̂ = m ÷ (1 − β₁ᵗ), v̂ = v ÷ (1 − β₂ᵗ).
 */
import { elements } from '../ir/graph.js';
import type { Op } from './op.js';
import { num } from './op.js';
import { one } from './operands.js';
import { clipFactor, inferOptimizer, optimizerInputs, scalarsByName } from './optimizer.js';
import { signatures } from './signatures.js';

const scalars = ['lr', 'beta1', 'beta2', 'eps', 'bias_correction1', 'bias_correction2'] as const;

export const adamw: Op = {
  name: 'adamw',
  operands: { inputs: optimizerInputs, outputs: one('p', 'm', 'v') },
  attributes: { weight_decay: 'number' },
  signatures: signatures('R R R R R -> R R R', 'S S R R R -> S S S'),
  optimizer: { scalars, states: () => ['m', 'v'] },
  infer: (inputs) => inferOptimizer('adamw', inputs, scalars.length, 2),
  flops: ({ inputs }) => 14 * elements(inputs[0]!.shape),
  evaluate([p, g, norm, maxNorm, slot, m, v], attrs) {
    const factor = clipFactor(norm!, maxNorm!);
    if (factor === null) return [p!.data, m!.data, v!.data];
    const s = scalarsByName(scalars, slot!);
    const first = m!.data.map((old, i) => s.beta1 * old + (1 - s.beta1) * factor * g!.data[i]!);
    const second = v!.data.map((old, i) => s.beta2 * old + (1 - s.beta2) * (factor * g!.data[i]!) ** 2);
    const nextP = p!.data.map((old, i) => {
      const decayed = old - s.lr * num(attrs, 'weight_decay') * old;
      const [mHat, vHat] = [first[i]! / s.bias_correction1, second[i]! / s.bias_correction2];
      return decayed - (s.lr * mHat) / (Math.sqrt(vHat) + s.eps);
    });
    return [nextP, first, second];
  },
  readsOutputs: [1, 2],
  inPlace: [{ output: 0, input: 0, when: null }],
};
