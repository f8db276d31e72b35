/**
 * rope (Su et al. 2021), rotate-half form: within each head, elements j and j + K/2 are a pair turned by the angle of
 * the token's position. The gradient is the rotation back.
 */

import { GraphError } from '../ir/error.js';
import { elements } from '../ir/graph.js';
import type { Op } from './op.js';
import { demand, flag, num, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

export const rope: Op = {
  name: 'rope',
  operands: { inputs: one('x', 'table', 'positions'), outputs: one('y') },
  attributes: { head_dim: 'integer', inverse: 'flag' },
  // Along columns by whole heads.
  signatures: signatures('R R R -> R', 'S0 R S0 -> S0', 'S1 R R -> S1'),
  infer(inputs, attrs) {
    const [x, table, positions] = inputs;
    const size = num(attrs, 'head_dim');
    demand(
      inputs.length === 3 &&
        x!.axes.length === 2 &&
        positions!.axes[0] === x!.axes[0] &&
        positions!.dtype === 'i32',
      'rope',
      inputs,
      'x [T, nK], table [P, K], positions i32 [T]',
    );
    demand(
      x!.shape[1]! % size === 0 && table!.shape[1] === size && size % 2 === 0,
      'rope',
      inputs,
      `whole heads of an even size ${size}`,
    );
    return [{ axes: x!.axes, dtype: 'f32' }];
  },
  flops: ({ inputs }) => 3 * elements(inputs[0]!.shape),
  vjp(emit, { inputs, attrs }, [dy]) {
    const [x, table, positions] = inputs;
    const [dx] = emit(
      'rope',
      [dy!, table!, positions!],
      { ...attrs, inverse: !flag(attrs, 'inverse') },
      { dtypes: [x!.dtype] },
    );
    return [dx!, null, null];
  },
  evaluate([x, table, positions], attrs, [shape]) {
    const [rows, width] = shape as [number, number];
    const size = num(attrs, 'head_dim');
    const half = size / 2;
    const sign = flag(attrs, 'inverse') ? -1 : 1;
    const y = zeros(shape!);
    for (let t = 0; t < rows; t++) {
      const angle = positions!.data[t]! * size;
      for (let head = t * width; head < (t + 1) * width; head += size) {
        for (let j = 0; j < half; j++) {
          const cos = table!.data[angle + j]!;
          const sin = sign * table!.data[angle + half + j]!;
          const a = x!.data[head + j]!;
          const b = x!.data[head + half + j]!;
          y[head + j] = a * cos - b * sin;
          y[head + half + j] = b * cos + a * sin;
        }
      }
    }
    return [y];
  },
  cheap: true,
  fallback(emit, [x, table, positions], attrs) {
    const size = num(attrs, 'head_dim');
    const half = size / 2;
    const split = `${x!.axes[0]!} ${x!.shape[1]! / size} 2 ${half}`;
    const [pick] = emit('one_hot', [positions!], { axis: table!.axes[0]! });
    const [angles] = emit('einsum', [pick!, table!], { spec: 'tp,pk->tk' });
    const [pairs] = emit('reshape', [angles!], { axes: `${x!.axes[0]!} 2 ${half}` });
    const sign = flag(attrs, 'inverse') ? -1 : 1;
    // y[a] = Σ_b x[b] · (cos · identity + sin · turn)[a, b] with the table's [cos, sin] as third index c.
    const [turn] = emit('literal', [], { axes: '2 2 2', values: [1, 0, 0, -sign, 0, sign, 1, 0] });
    const [xs] = emit('reshape', [x!], { axes: split });
    const [y] = emit('einsum', [xs!, turn!, pairs!], { spec: 'thbj,abc,tcj->thaj' });
    return emit('reshape', [y!], { axes: x!.axes.join(' ') });
  },
  // RotaryEmbedding pairs j with j + K/2 as this op does; it takes cosines and sines apart, each [P, K/2].
  onnx(to, [x, table, positions], { inputs, attrs }) {
    if (flag(attrs, 'inverse')) throw new GraphError('rope: only the forward rotation has an ONNX form');
    const size = num(attrs, 'head_dim');
    const width = inputs[0]!.shape[1]!;
    const part = (from: number, until: number) =>
      to.tensor(to.sourceOf(table!), inputs[1]!.shape, [from, until]);
    const turned = to.node(
      'RotaryEmbedding',
      [to.batched(x!, [width]), part(0, size / 2), part(size / 2, size), to.batched(positions!, [])],
      { attrs: { num_heads: { i: width / size } } },
    );
    return [to.rows(turned, [width])];
  },
};
