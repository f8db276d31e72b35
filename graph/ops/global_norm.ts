import { elements } from '../ir/graph.js';
import type { Op } from './op.js';
import { demand } from './op.js';
import { many, one } from './operands.js';
import { signatures } from './signatures.js';

/** global_norm: the Euclidean norm over all gradients, and that of each. */
export const globalNorm: Op = {
  name: 'global_norm',
  operands: { inputs: many('g'), outputs: one('norm', 'norms') },
  attributes: {},
  // The norm of a part, or of a summand, is not a part of the norm.
  signatures: signatures('R -> R R'),
  infer(inputs) {
    demand(inputs.length > 0, 'global_norm', inputs, 'at least one gradient');
    return [
      { axes: ['1'], dtype: 'f32' },
      { axes: [String(inputs.length)], dtype: 'f32' },
    ];
  },
  flops: ({ inputs }) => inputs.reduce((sum, g) => sum + 2 * elements(g.shape), 0),
  evaluate(inputs) {
    const squares = inputs.map((g) => g.data.reduce((sum, x) => sum + x * x, 0));
    const total = squares.reduce((sum, x) => sum + x, 0);
    return [Float64Array.of(Math.sqrt(total)), Float64Array.from(squares, Math.sqrt)];
  },
};
