/** cast, add, scale and accumulate: the elementwise ops that are linear, so they also work on Partial values. */
import { elements } from '../ir/graph.js';
import type { Op } from './op.js';
import { demand, num, sameAxes } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

/** cast: y = x in another dtype, the output's. */
export const cast: Op = {
  name: 'cast',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: {},
  signatures: signatures('R -> R', 'S -> S', 'P -> P'),
  infer(inputs) {
    demand(inputs.length === 1, 'cast', inputs, 'one input');
    return [{ axes: inputs[0]!.axes, dtype: 'f32' }];
  },
  flops: () => 0,
  // The gradient keeps the dtype it arrives in: ops read any float dtype.
  vjp: (_emit, _call, [dy]) => [dy ?? null],
  evaluate: ([x]) => [x!.data.slice()],
  cheap: true,
  // An ONNX graph has one float type throughout.
  onnx: (_to, [x]) => [x!],
};

/** add: y = a + b. */
export const add: Op = {
  name: 'add',
  operands: { inputs: one('a', 'b'), outputs: one('y') },
  attributes: {},
  signatures: signatures('R R -> R', 'S S -> S', 'P P -> P'),
  infer(inputs) {
    const [a, b] = inputs;
    demand(inputs.length === 2 && sameAxes(a!, b!), 'add', inputs, 'two inputs with the same axes');
    return [{ axes: a!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => elements(outputs[0]!.shape),
  vjp: (_emit, _call, [dy], needs) => needs.map((need) => (need ? dy! : null)),
  evaluate: ([a, b]) => [a!.data.map((x, i) => x + b!.data[i]!)],
  inPlace: [
    { output: 0, input: 0, when: null },
    { output: 0, input: 1, when: null },
  ],
  float32: [0],
  cheap: true,
  onnx: (to, inputs) => [to.node('Add', inputs)],
};

/** scale: y = alpha · x. */
export const scale: Op = {
  name: 'scale',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: { alpha: 'number' },
  signatures: signatures('R -> R', 'S -> S', 'P -> P'),
  infer(inputs) {
    demand(inputs.length === 1, 'scale', inputs, 'one input');
    return [{ axes: inputs[0]!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => elements(outputs[0]!.shape),
  vjp: (emit, { inputs, attrs }, [dy]) => emit('scale', [dy!], attrs, { dtypes: [inputs[0]!.dtype] }),
  evaluate: ([x], attrs) => [x!.data.map((v) => v * num(attrs, 'alpha'))],
  cheap: true,
  onnx: (to, [x], { attrs }) => [to.node('Mul', [x!, to.scalar(num(attrs, 'alpha'))])],
};

/** accumulate: y (+)= x, for a term whose own op cannot add to what its output holds. */
export const accumulate: Op = {
  name: 'accumulate',
  operands: { inputs: one('x'), outputs: one('y') },
  attributes: { accumulate: 'text' },
  signatures: signatures('R -> R', 'S -> S', 'P -> P'),
  infer(inputs) {
    demand(inputs.length === 1, 'accumulate', inputs, 'one input');
    return [{ axes: inputs[0]!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => elements(outputs[0]!.shape),
  evaluate: ([x]) => [x!.data.slice()],
  accumulates: () => [0],
  float32: [0],
};
