/** embedding: y[t] = table[ids[t]]; its gradient adds dy[t] to row ids[t], in token order. */

import { elements } from '../ir/graph.js';
import { dtypeBytes } from '../ir/plan.js';
import type { Op } from './op.js';
import { demand, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

export const embedding: Op = {
  name: 'embedding',
  operands: { inputs: one('table', 'ids'), outputs: one('y') },
  attributes: {},
  signatures: signatures('R R -> R', 'R S0 -> S0'),
  infer(inputs) {
    const [table, ids] = inputs;
    demand(
      inputs.length === 2 && table!.axes.length === 2 && ids!.axes.length === 1 && ids!.dtype === 'i32',
      'embedding',
      inputs,
      'table [V, D] and ids i32 [T]',
    );
    return [{ axes: [ids!.axes[0]!, table!.axes[1]!], dtype: 'f32' }];
  },
  flops: () => 0,
  // The rows that are named, not the whole table.
  bytes: ({ inputs, outputs }) =>
    elements(outputs[0]!.shape) * (dtypeBytes[inputs[0]!.dtype] + dtypeBytes[outputs[0]!.dtype]) +
    elements(inputs[1]!.shape) * 4,
  vjp(emit, { inputs }, [dy], needs) {
    if (!needs[0]) return [null, null];
    const [table, ids] = inputs;
    return [
      emit('embedding_grad', [dy!, ids!], { accumulate: 'never', axes: table!.axes.join(' ') })[0]!,
      null,
    ];
  },
  evaluate([table, ids], _attrs, [shape]) {
    const width = table!.shape[1]!;
    const y = zeros(shape!);
    ids!.data.forEach((id, t) => {
      y.set(table!.data.subarray(id * width, (id + 1) * width), t * width);
    });
    return [y];
  },
  float32: [0],
  fallback(emit, [table, ids]) {
    const [pick] = emit('one_hot', [ids!], { axis: table!.axes[0]! });
    return emit('einsum', [pick!, table!], { spec: 'tv,vd->td' });
  },
  onnx: (to, inputs) => [to.node('Gather', inputs)],
};

/** embedding_grad: inputs dy [T, D] and ids; output dtable. The attribute `axes` names dtable's axes. */
export const embeddingGrad: Op = {
  name: 'embedding_grad',
  operands: { inputs: one('dy', 'ids'), outputs: one('dtable') },
  attributes: { accumulate: 'text' },
  shapeAttributes: { axes: 'text' },
  signatures: signatures('R R -> R', 'S0 S0 -> P'),
  infer(inputs, attrs) {
    const [dy, ids] = inputs;
    const axes = String(attrs.axes).split(' ');
    demand(
      inputs.length === 2 && axes[1] === dy!.axes[1] && ids!.axes[0] === dy!.axes[0],
      'embedding_grad',
      inputs,
      `dy [T, D] and ids [T] for a table [${axes.join(' ')}]`,
    );
    return [{ axes, dtype: 'f32' }];
  },
  flops: ({ inputs }) => elements(inputs[0]!.shape),
  bytes: ({ inputs }) => elements(inputs[0]!.shape) * (dtypeBytes[inputs[0]!.dtype] + 8),
  evaluate([dy, ids], _attrs, [shape]) {
    const width = shape![1]!;
    const table = zeros(shape!);
    ids!.data.forEach((id, t) => {
      for (let j = 0; j < width; j++) table[id * width + j]! += dy!.data[t * width + j]!;
    });
    return [table];
  },
  accumulates: () => [0],
};
