import type { Graph } from '../../../graph/index.js';
import { GraphBuilder } from '../../../graph/index.js';

/** A model whose gradients are made by ops that cannot add to a tensor, and by several ops for one parameter. */
export function scaledParameters(sizes = { T: 7, D: 6, V: 11 }): Graph {
  const g = new GraphBuilder('scaled', sizes);
  const embedVD = g.param('embed.weight', 'f32', 'V D');
  const normD = g.param('norm.weight', 'f32', 'D');
  const mixDD = g.param('mix.weight', 'f32', 'D D');
  const otherDD = g.param('other.weight', 'f32', 'D D');
  let xTD = g.embedding('embed', g.scale('embed.scaled', embedVD, 2), g.input('ids', 'i32', 'T'));
  g.scope('layers.0', () => {
    // Read as it is and scaled.
    const nTD = g.rmsnorm('norm', xTD, normD, 1e-5);
    const mTD = g.rmsnorm('norm.half', g.linear('mix', nTD, mixDD), g.scale('w', normD, 0.5), 1e-5);
    xTD = g.add('out', xTD, mTD);
  });
  g.scope('layers.1', () => {
    // The two parameters of a sum have one gradient.
    const sumDD = g.add('sum', mixDD, otherDD);
    xTD = g.add('out', xTD, g.linear('mixed', xTD, g.add('twice', sumDD, sumDD)));
  });
  g.output('hidden', xTD);
  g.output('head', embedVD);
  return g.build();
}
