import { lossRule } from '../../../components/loss/index.js';
import { planMemory } from '../../../graph/passes/memory.js';
import { compileTraining } from './checked.js';
import { tinyDecoder } from './tiny_decoder.js';

test('the gradient of a norm takes over the buffer of the gradient that it adds to', () => {
  // Narrow but for the model width, and recomputed: the residual stream's gradients are where most is alive.
  const shape = { T: 64, D: 64, H: 2, G: 1, K: 4, F: 16, V: 8, layers: 1 };
  const { graph, plan } = compileTraining({
    graph: tinyDecoder(shape),
    loss: lossRule('linear_ce'),
    optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0 },
    precision: 'bf16',
    recompute: { mode: 'full' },
  });
  const sums = plan.records.filter(({ op, attrs }) => op === 'rmsnorm_grad' && attrs.residual === true);
  expect(sums).toHaveLength(2);
  const offset = (buffers: readonly number[] | undefined) => plan.buffers[buffers![0]!]!.offset;
  for (const { inputs, outputs } of sums) expect(offset(outputs.dx)).toBe(offset(inputs.residual));

  const apart = graph.nodes.map((node) =>
    node.op === 'rmsnorm_grad' ? { ...node, attrs: { ...node.attrs, residual: false } } : node,
  );
  expect(planMemory(graph, apart).arenaBytes).toBe(86_016);
  expect(planMemory(graph, graph.nodes).arenaBytes).toBe(77_824);
});
