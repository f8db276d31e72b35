/**
 * random_uniform and random_normal: initial values from Philox (docs/plan-format.md, "Randomness"), a function of seed,
 * site and element. `axes` gives the shape.
 */
import type { Attrs } from '../ir/graph.js';
import { philox } from '../ir/philox.js';
import type { Op } from './op.js';
import { num, text, zeros } from './op.js';
import { one } from './operands.js';
import { signatures } from './signatures.js';

const infer: Op['infer'] = (_inputs, attrs) => [{ axes: text(attrs, 'axes').split(' '), dtype: 'f32' }];

/** The four words for elements 4·group … 4·group + 3. */
function words(attrs: Attrs, group: number) {
  const seed = num(attrs, 'seed');
  return philox(
    [group >>> 0, num(attrs, 'site'), 0x7e3d, Math.floor(group / 2 ** 32)],
    [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0],
  );
}

export const randomUniform: Op = {
  name: 'random_uniform',
  operands: { inputs: [], outputs: one('y') },
  attributes: { seed: 'integer', site: 'integer', bound: 'number' },
  shapeAttributes: { axes: 'text' },
  signatures: signatures('-> R'),
  infer,
  flops: () => 0,
  evaluate(_inputs, attrs, [shape]) {
    const bound = num(attrs, 'bound');
    return [
      zeros(shape!).map((_, i) => (2 * (words(attrs, Math.floor(i / 4))[i % 4]! / 2 ** 32) - 1) * bound),
    ];
  },
};

/** Box–Muller over words (0, 1) for elements 0 and 1 of four, (2, 3) for elements 2 and 3. */
export const randomNormal: Op = {
  name: 'random_normal',
  operands: { inputs: [], outputs: one('y') },
  attributes: { seed: 'integer', site: 'integer', std: 'number' },
  shapeAttributes: { axes: 'text' },
  signatures: signatures('-> R'),
  infer,
  flops: () => 0,
  evaluate(_inputs, attrs, [shape]) {
    const std = num(attrs, 'std');
    return [
      zeros(shape!).map((_, i) => {
        const four = words(attrs, Math.floor(i / 4));
        const pair = i % 4 < 2 ? 0 : 2;
        // (word + 1) / 2³² lies in (0, 1], where the logarithm is finite.
        const radius = Math.sqrt(-2 * Math.log((four[pair]! + 1) / 2 ** 32));
        const angle = (2 * Math.PI * four[pair + 1]!) / 2 ** 32;
        return std * radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
      }),
    ];
  },
};
