/**
 * glu (Shazeer 2020): h = fn(gate) · up, with an activation function `fn`. Backward: dgate = dh · up · fn′(gate),
 * dup = dh · fn(gate).
 */
import { elements } from '../ir/graph.js';
import { activationOf } from './activation.js';
import { times } from './arithmetic.js';
import type { Op } from './op.js';
import { demand, sameAxes, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

export const glu: Op = {
  name: 'glu',
  operands: { inputs: one('gate', 'up'), outputs: one('h') },
  attributes: { fn: 'text' },
  signatures: signatures('R R -> R', 'S S -> S'),
  infer(inputs, attrs) {
    const [gate, up] = inputs;
    activationOf('glu', attrs);
    demand(inputs.length === 2 && sameAxes(gate!, up!), 'glu', inputs, 'gate and up [T, F]');
    return [{ axes: gate!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => 5 * elements(outputs[0]!.shape),
  vjp(emit, { inputs, attrs }, [dh], needs) {
    const grads = emit('glu_grad', [dh!, ...inputs], attrs, { dtypes: inputs.map((value) => value.dtype) });
    return grads.map((grad, i) => (needs[i] ? grad : null));
  },
  evaluate([gate, up], attrs) {
    const { value } = activationOf('glu', attrs);
    return [gate!.data.map((g, i) => value(g) * up!.data[i]!)];
  },
  cheap: true,
  fallback: (emit, [gate, up], attrs) => [
    times(emit, [...activationOf('glu', attrs).factors(emit, gate!), up!]),
  ],
  onnx: (to, [gate, up], { attrs }) => [to.node('Mul', [activationOf('glu', attrs).onnx(to, gate!), up!])],
};

export const gluGrad: Op = {
  name: 'glu_grad',
  operands: { inputs: one('dh', 'gate', 'up'), outputs: one('dgate', 'dup') },
  attributes: { fn: 'text' },
  signatures: signatures('R R R -> R R', 'S S S -> S S'),
  infer(inputs, attrs) {
    const [dh, gate, up] = inputs;
    activationOf('glu_grad', attrs);
    demand(
      inputs.length === 3 && sameAxes(dh!, gate!) && sameAxes(gate!, up!),
      'glu_grad',
      inputs,
      'dh, gate and up [T, F]',
    );
    const type = { axes: gate!.axes, dtype: 'f32' as const };
    return [type, type];
  },
  flops: ({ outputs }) => 10 * elements(outputs[0]!.shape),
  evaluate([dh, gate, up], attrs, [shape]) {
    const { value, derivative } = activationOf('glu_grad', attrs);
    const dgate = zeros(shape!);
    const dup = zeros(shape!);
    gate!.data.forEach((g, i) => {
      dgate[i] = dh!.data[i]! * up!.data[i]! * derivative(g);
      dup[i] = dh!.data[i]! * value(g);
    });
    return [dgate, dup];
  },
  inPlace: [
    { output: 0, input: 1, when: null },
    { output: 1, input: 2, when: null },
  ],
};
