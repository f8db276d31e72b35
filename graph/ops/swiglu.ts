/** swiglu (Shazeer 2020): h = gate · σ(gate) · up. Backward: dgate = dh · up · σ(1 + gate(1 − σ)), dup = dh · gate · σ. */
import { elements } from '../ir/graph.js';
import type { Op } from './op.js';
import { demand, sameAxes, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

export const swiglu: Op = {
  name: 'swiglu',
  operands: { inputs: one('gate', 'up'), outputs: one('h') },
  attributes: {},
  signatures: signatures('R R -> R', 'S S -> S'),
  infer(inputs) {
    const [gate, up] = inputs;
    demand(inputs.length === 2 && sameAxes(gate!, up!), 'swiglu', inputs, 'gate and up [T, F]');
    return [{ axes: gate!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => 5 * elements(outputs[0]!.shape),
  vjp(emit, { inputs }, [dh], needs) {
    const grads = emit('swiglu_grad', [dh!, ...inputs], {}, { dtypes: inputs.map((value) => value.dtype) });
    return grads.map((grad, i) => (needs[i] ? grad : null));
  },
  evaluate: ([gate, up]) => [gate!.data.map((g, i) => g * sigmoid(g) * up!.data[i]!)],
  cheap: true,
  fallback(emit, [gate, up]) {
    const [s] = emit('unary', [gate!], { fn: 'sigmoid' });
    return emit('einsum', [gate!, s!, up!], { spec: 'tf,tf,tf->tf' });
  },
  onnx(to, [gate, up]) {
    const swish = to.node('Mul', [gate!, to.node('Sigmoid', [gate!])]);
    return [to.node('Mul', [swish, up!])];
  },
};

export const swigluGrad: Op = {
  name: 'swiglu_grad',
  operands: { inputs: one('dh', 'gate', 'up'), outputs: one('dgate', 'dup') },
  attributes: {},
  signatures: signatures('R R R -> R R', 'S S S -> S S'),
  infer(inputs) {
    const [dh, gate, up] = inputs;
    demand(
      inputs.length === 3 && sameAxes(dh!, gate!) && sameAxes(gate!, up!),
      'swiglu_grad',
      inputs,
      'dh, gate and up [T, F]',
    );
    const type = { axes: gate!.axes, dtype: 'f32' as const };
    return [type, type];
  },
  flops: ({ outputs }) => 10 * elements(outputs[0]!.shape),
  evaluate([dh, gate, up], _attrs, [shape]) {
    const dgate = zeros(shape!);
    const dup = zeros(shape!);
    gate!.data.forEach((g, i) => {
      const s = sigmoid(g);
      dgate[i] = dh!.data[i]! * up!.data[i]! * s * (1 + g * (1 - s));
      dup[i] = dh!.data[i]! * g * s;
    });
    return [dgate, dup];
  },
  inPlace: [
    { output: 0, input: 1, when: null },
    { output: 1, input: 2, when: null },
  ],
};
