/** fill: y = value everywhere. Attributes: `value`, and `axes` (`"T D"`) for its shape. */
import type { Op } from './op.js';
import { num, text, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

export const fill: Op = {
  name: 'fill',
  operands: { inputs: [], outputs: one('y') },
  attributes: { value: 'number' },
  shapeAttributes: { axes: 'text' },
  signatures: signatures('-> R'),
  infer: (_inputs, attrs) => [{ axes: text(attrs, 'axes').split(' '), dtype: 'f32' }],
  flops: () => 0,
  vjp: () => [],
  evaluate: (_inputs, attrs, [shape]) => [zeros(shape!).fill(num(attrs, 'value'))],
};
