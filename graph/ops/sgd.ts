/**
 * sgd (as torch.optim.SGD), after g is clipped: g ← g + λ·p, b ← μ·b + g (b ← g at the first step), p ← p − lr·b. Without
 * momentum b is g, and nothing is kept.
 */
import { elements } from '../ir/graph.js';
import type { Op } from './op.js';
import { flag, num } from './op.js';
import { flagged, one } from './operands.js';
import { clipFactor, inferOptimizer, optimizerInputs, scalarsByName } from './optimizer.js';
import { signatures } from './signatures.js';

const scalars = ['lr', 'momentum', 'first_step'] as const;

export const sgd: Op = {
  name: 'sgd',
  operands: { inputs: optimizerInputs, outputs: [...one('p'), flagged('momentum')] },
  attributes: { weight_decay: 'number', momentum: 'flag' },
  signatures: signatures('R R R R R -> R R', 'S S R R R -> S S'),
  optimizer: { scalars, states: (attrs) => (flag(attrs, 'momentum') ? ['momentum'] : []) },
  infer: (inputs, attrs) => inferOptimizer('sgd', inputs, scalars.length, flag(attrs, 'momentum') ? 1 : 0),
  flops: ({ inputs }) => 6 * elements(inputs[0]!.shape),
  evaluate([p, g, norm, maxNorm, slot, buffer], attrs) {
    const factor = clipFactor(norm!, maxNorm!);
    if (factor === null) return buffer === undefined ? [p!.data] : [p!.data, buffer.data];
    const { lr, momentum, first_step } = scalarsByName(scalars, slot!);
    const gradient = g!.data.map((x, i) => factor * x + num(attrs, 'weight_decay') * p!.data[i]!);
    const direction =
      buffer === undefined
        ? gradient
        : gradient.map((x, i) => (first_step !== 0 ? x : momentum * buffer.data[i]! + x));
    const nextP = p!.data.map((old, i) => old - lr * direction[i]!);
    return buffer === undefined ? [nextP] : [nextP, direction];
  },
  readsOutputs: [1],
  inPlace: [{ output: 0, input: 0, when: null }],
};
