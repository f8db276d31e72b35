/** act: y = fn(x), element by element, with an activation function `fn`. Backward: dx = dy · fn′(x). */
import { elements } from '../ir/graph.js';
import { activationOf } from './activation.js';
import { times } from './arithmetic.js';
import type { Op } from './op.js';
import { demand, sameAxes } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

export const act: Op = {
  name: 'act',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: { fn: 'text' },
  signatures: signatures('R -> R', 'S -> S'),
  infer(inputs, attrs) {
    activationOf('act', attrs);
    demand(inputs.length === 1, 'act', inputs, 'one input');
    return [{ axes: inputs[0]!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => 4 * elements(outputs[0]!.shape),
  vjp: (emit, { inputs: [x], attrs }, [dy]) => emit('act_grad', [dy!, x!], attrs, { dtypes: [x!.dtype] }),
  evaluate: ([x], attrs) => [x!.data.map(activationOf('act', attrs).value)],
  inPlace: [{ output: 0, input: 0, when: null }],
  cheap: true,
  fallback: (emit, [x], attrs) => [times(emit, activationOf('act', attrs).factors(emit, x!))],
  onnx: (to, [x], { attrs }) => [activationOf('act', attrs).onnx(to, x!)],
};

export const actGrad: Op = {
  name: 'act_grad',
  operands: { inputs: one('dy', 'x'), outputs: one('dx') },
  attributes: { fn: 'text' },
  signatures: signatures('R R -> R', 'S S -> S'),
  infer(inputs, attrs) {
    const [dy, x] = inputs;
    activationOf('act_grad', attrs);
    demand(inputs.length === 2 && sameAxes(dy!, x!), 'act_grad', inputs, 'dy and x with the same axes');
    return [{ axes: x!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => 8 * elements(outputs[0]!.shape),
  evaluate([dy, x], attrs) {
    const { derivative } = activationOf('act_grad', attrs);
    return [x!.data.map((each, i) => dy!.data[i]! * derivative(each))];
  },
  inPlace: [
    { output: 0, input: 0, when: null },
    { output: 0, input: 1, when: null },
  ],
};
