import { lossRule } from '../../../components/loss/index.js';
import type { Graph } from '../../../graph/index.js';
import { GraphBuilder, getValue } from '../../../graph/index.js';
import { autodiff } from '../../../graph/passes/autodiff.js';
import { fuse } from '../../../graph/passes/fusion.js';
import { attachLoss } from '../../../graph/passes/loss.js';
import { planMemory } from '../../../graph/passes/memory.js';
import { setPrecision } from '../../../graph/passes/precision.js';
import { compileValidation } from './checked.js';
import { tinyDecoder } from './tiny_decoder.js';

describe('fusion', () => {
  /** A second loss of the same inputs, with other attributes. */
  function twoLosses(chunkRows: number): Graph {
    const g = GraphBuilder.from(attachLoss(tinyDecoder(), lossRule('linear_ce')));
    const [inputs, attrs] = [g.build().nodes.at(-1)!.inputs, g.build().nodes.at(-1)!.attrs];
    const values = inputs.map((id) => g.value(id)!);
    const [other] = g.emit('linear_cross_entropy', values, { ...attrs, chunk_rows: chunkRows });
    g.output('other', other!);
    return fuse(autodiff(g.build()));
  }
  const losses = (graph: Graph) => graph.nodes.filter(({ op }) => op === 'linear_cross_entropy');

  test('makes a loss and its gradient one record, and so their twin', () => {
    const { chunk_rows } = attachLoss(tinyDecoder(), lossRule('linear_ce')).nodes.at(-1)!.attrs;
    expect(losses(twoLosses(Number(chunk_rows)))).toHaveLength(1);
  });

  test('keeps a loss apart that has the same inputs and other attributes', () => {
    const graph = twoLosses(3);
    expect(losses(graph).map(({ attrs }) => attrs.chunk_rows)).toContain(3);
    expect(losses(graph)).toHaveLength(2);
    expect(graph.outputs.other).not.toBe(graph.outputs.loss);
  });
});

describe('precision', () => {
  const graph = attachLoss(tinyDecoder(), lossRule('masked_ce'));
  const nodeOf = (g: Graph, name: string) =>
    g.nodes.find(({ outputs }) => getValue(g, outputs[0]!).name === name)!;

  test('a value that is only stored in float32 is computed as all others', () => {
    const mixed = setPrecision(graph, 'bf16', { stored: new Set(['logits']), computed: new Set() });
    expect(nodeOf(mixed, 'logits').attrs.compute).toBe('bf16');
    expect(getValue(mixed, nodeOf(mixed, 'logits').outputs[0]!).dtype).toBe('f32');
  });

  test.each(['layers.0.q', 'layers.0.attn'])('%s is computed in float32 where that is asked for', (name) => {
    const mixed = setPrecision(graph, 'bf16', { stored: new Set(), computed: new Set([name]) });
    expect(nodeOf(mixed, name).attrs.compute).toBe('f32');
    expect(getValue(mixed, nodeOf(mixed, name).outputs[0]!).dtype).toBe('f32');
    expect(nodeOf(mixed, 'layers.1.q').attrs.compute).toBe('bf16');
    const gradients = autodiff(mixed).nodes.filter(
      ({ op, scope, phase }) => op === 'attention_grad' && scope === 'layers.0' && phase === 'backward',
    );
    expect(gradients.map(({ attrs }) => attrs.compute)).toEqual([name === 'layers.0.attn' ? 'f32' : 'bf16']);
  });
});

test('dropout refuses a pack with more places than there are counters', () => {
  const g = new GraphBuilder('long', { T: 2 ** 20, D: 2 ** 14 + 1 });
  const random = [
    g.input('dropout_key', 'i32', '4'),
    g.input('packs', 'i32', 'T'),
    g.input('offsets', 'i32', 'T'),
  ];
  const x = g.input('x', 'f32', 'T D');
  expect(() => g.emit('dropout', [x, ...random], { probability: 0.1, site: 0 })).toThrow(
    /at most 2\^32 groups of four columns/,
  );
});

test('a sum with the residual stream takes over its buffer', () => {
  // Narrow but for the model width, so that the sums are where most is alive.
  const shape = { T: 64, D: 64, H: 2, G: 1, K: 4, F: 16 };
  const { graph, plan } = compileValidation({
    loss: lossRule('linear_ce'),
    graph: tinyDecoder(shape),
    precision: 'bf16',
  });
  const apart = graph.nodes.map((node) => ({ ...node, attrs: { ...node.attrs, residual: false } }));
  expect(planMemory(graph, apart).arenaBytes).toBe(34_816);
  expect(planMemory(graph, graph.nodes).arenaBytes).toBe(28_672);
  const stream = plan.buffers.filter(({ name }) => /(embed|attn_out|mlp_out)$/.test(name));
  expect(stream).toHaveLength(5);
  expect(new Set(stream.map(({ offset }) => offset)).size).toBe(1);
});
