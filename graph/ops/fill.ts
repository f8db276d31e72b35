/** fill: y = value everywhere. Attributes: `value`, and `axes` (`"T D"`) for its shape. */

import { replicated } from '../ir/graph.js';
import type { Op } from './op.js';
import { num, text, zeros } from './op.js';
import { one } from './operands.js';

export const fill: Op = {
  name: 'fill',
  operands: { inputs: [], outputs: one('y') },
  attributes: { value: 'number' },
  shapeAttributes: { axes: 'text' },
  infer: (_inputs, attrs) => [{ axes: text(attrs, 'axes').split(' '), dtype: 'f32', placement: replicated }],
  flops: () => 0,
  vjp: () => [],
  evaluate: (_inputs, attrs, [shape]) => [zeros(shape!).fill(num(attrs, 'value'))],
};
