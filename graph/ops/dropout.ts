/**
 * dropout (Srivastava et al. 2014), scaled at training time. The mask is a function of seed, step, site, pack and place
 * within the pack (docs/plan-format.md, "Randomness"), so the gradient is the same op applied to dy.
 */
import { elements } from '../ir/graph.js';
import { philox } from '../ir/philox.js';
import type { Op } from './op.js';
import { demand, num, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

/** A place of a pack and four of its columns have one 32-bit word of the counter. */
const counters = 2 ** 32;

export const dropout: Op = {
  name: 'dropout',
  operands: { inputs: one('x', 'key', 'packs', 'offsets'), outputs: one('y') },
  attributes: { probability: 'number', site: 'integer' },
  signatures: signatures('R R R R -> R', 'S0 R S0 S0 -> S0'),
  infer(inputs) {
    const [x, key, packs, offsets] = inputs;
    demand(
      inputs.length === 4 &&
        x!.axes.length === 2 &&
        key!.shape[0] === 4 &&
        packs!.axes[0] === x!.axes[0] &&
        offsets!.axes[0] === x!.axes[0],
      'dropout',
      inputs,
      'x [T, N], key i32 [4], packs i32 [T], offsets i32 [T]',
    );
    demand(
      x!.shape[0]! * Math.ceil(x!.shape[1]! / 4) <= counters,
      'dropout',
      inputs,
      'at most 2^32 groups of four columns in x, or masks would repeat within a pack: use a smaller packed sequence',
    );
    return [{ axes: x!.axes, dtype: 'f32' }];
  },
  flops: ({ outputs }) => elements(outputs[0]!.shape),
  vjp(emit, { inputs, attrs }, [dy]) {
    const [x, ...random] = inputs;
    return [emit('dropout', [dy!, ...random], attrs, { dtypes: [x!.dtype] })[0]!, null, null, null];
  },
  evaluate([x, key, packs, offsets], attrs, [shape]) {
    const [rows, width] = shape as [number, number];
    const probability = num(attrs, 'probability');
    const threshold = probability * 2 ** 32;
    const groups = Math.ceil(width / 4);
    const [low, high, step] = key!.data as unknown as [number, number, number];
    const y = zeros(shape!);
    for (let t = 0; t < rows; t++) {
      for (let group = 0; group < groups; group++) {
        const counter = (offsets!.data[t]! * groups + group) >>> 0;
        const words = philox([counter, num(attrs, 'site'), packs!.data[t]! >>> 0, step >>> 0], [low, high]);
        for (let j = 4 * group; j < Math.min(width, 4 * group + 4); j++) {
          if (words[j % 4]! >= threshold) y[t * width + j] = x!.data[t * width + j]! / (1 - probability);
        }
      }
    }
    return [y];
  },
  cheap: true,
};
