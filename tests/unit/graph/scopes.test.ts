import { lossRule } from '../../../components/loss/index.js';
import type { Graph, Value } from '../../../graph/index.js';
import { GraphBuilder, getValue } from '../../../graph/index.js';
import { schedule } from '../../../graph/passes/schedule.js';
import { compileTraining } from './checked.js';
import { runMicro } from './run_micro.js';
import { difference, feedsFor } from './tiny_decoder.js';

/** Two towers of two layers each, whose layers have the same numbers; widths within differ. */
function twoTowers(): Graph {
  const g = new GraphBuilder('towers', { T: 6, D: 8, F: 12, 'v:F': 5, V: 9 });
  const tower = (path: string, F: string, input: Value) =>
    [`${path}layers.0`, `${path}layers.1`].reduce(
      (xTD, scope) =>
        g.scope(scope, () => {
          const weight = (name: string, axes: string) => g.param(`${scope}.${name}.weight`, 'f32', axes);
          const nTD = g.rmsnorm('norm', xTD, weight('norm', 'D'), 1e-5);
          const hTF = g.glu(
            'h',
            g.linear('gate', nTD, weight('gate', `${F} D`)),
            g.linear('up', nTD, weight('up', `${F} D`)),
            'silu',
          );
          return g.add('out', xTD, g.linear('down', hTF, weight('down', `D ${F}`)));
        }),
      input,
    );
  const embedVD = g.param('embed.weight', 'f32', 'V D');
  const seenTD = tower('vision.', 'v:F', g.embedding('embed', embedVD, g.input('ids', 'i32', 'T')));
  g.output('hidden', tower('', 'F', seenTD));
  g.output('head', embedVD);
  return g.build();
}

const scopes = ['vision.layers.0', 'vision.layers.1', 'layers.0', 'layers.1'];

const compile = (mode: 'none' | 'full') =>
  compileTraining({
    graph: twoTowers(),
    loss: lossRule('linear_ce'),
    optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0 },
    recompute: { mode },
  });

test('layers of two towers that have the same number are different scopes', () => {
  const { recomputed, plan } = compile('full');
  expect(recomputed).toEqual({ full: 4, cheap: 0, of: 4 });
  const again = plan.records.filter(({ phase }) => phase === 'recompute').map(({ scope }) => scope);
  expect([...new Set(again)]).toEqual(scopes.toReversed());
  expect(plan.buffers.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['layers.0.norm', 'vision.layers.0.norm']),
  );
});

test('recomputing the layers of two towers changes no gradient', () => {
  const [plain, recomputed] = (['none', 'full'] as const).map((mode) => {
    const compiled = compile(mode);
    return runMicro(compiled, feedsFor(compiled.graph)).tensors;
  });
  for (const name of Object.keys(plain!)) expect(difference(plain![name]!, recomputed![name]!)).toBe(0);
});

test('the schedule keeps the layers of two towers in order', () => {
  const graph = schedule(compile('none').graph);
  const forward = graph.nodes.filter(({ phase, scope }) => phase === 'forward' && scope !== '');
  const runs = forward.map(({ scope }) => scope).filter((scope, i, all) => scope !== all[i - 1]);
  expect(runs).toEqual(scopes);
});

test('a gradient that two layers contribute to is named within the layer that adds to it', () => {
  const { graph } = compile('none');
  const sums = graph.nodes
    .filter(({ op, phase }) => op === 'rmsnorm_grad' && phase === 'backward')
    .map(({ scope, outputs }) => [scope, getValue(graph, outputs[0]!).name]);
  expect(sums).toContainEqual(['layers.0', 'layers.0.d(out)']);
});
