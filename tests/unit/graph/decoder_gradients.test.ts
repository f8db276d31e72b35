import { lossRule } from '../../../components/loss/index.js';
import type { Graph } from '../../../graph/index.js';
import { interpret } from '../../../graph/index.js';
import { autodiff } from '../../../graph/passes/autodiff.js';
import { insertLora } from '../../../graph/passes/lora.js';
import { attachLoss } from '../../../graph/passes/loss.js';
import { setTrainable } from '../../../graph/passes/trainable.js';
import { feedsFor, numbers, tinyDecoder } from './tiny_decoder.js';

const adapters = { rank: 2, alpha: 3, rslora: true, dropout: 0.3, matches: () => true };

const models: [string, Graph][] = [
  ['full, tied', attachLoss(tinyDecoder(), lossRule('linear_ce'))],
  ['full, untied, biases', attachLoss(tinyDecoder({ tied: false, bias: true, T: 5 }), lossRule('masked_ce'))],
  ['LoRA on every linear, dropout', insertLora(attachLoss(tinyDecoder(), lossRule('linear_ce')), adapters)],
  [
    'the upper layer alone',
    setTrainable(attachLoss(tinyDecoder(), lossRule('linear_ce')), (name) => name.includes('layers.1')),
  ],
];

const lossOf = (graph: Graph, feeds: Record<string, Float64Array>) =>
  interpret(graph, feeds)[graph.values[graph.outputs.loss!]!.name]![0]!;

test.each(models)('%s: every parameter’s gradient agrees with finite differences', (_name, graph) => {
  const differentiated = autodiff(graph);
  const feeds = feedsFor(graph);
  const run = interpret(differentiated, feeds);
  const random = numbers(9);
  const trained = graph.values.filter((value) => value.role === 'trained');
  expect(Object.keys(differentiated.outputs)).toHaveLength(trained.length + 1);
  for (const { name } of trained) {
    const gradient = run[differentiated.values[differentiated.outputs[`grad:${name}`]!]!.name]!;
    // One random direction tests every element at once.
    const direction = gradient.map(() => random());
    const along = (step: number) =>
      lossOf(graph, { ...feeds, [name]: feeds[name]!.map((x, i) => x + step * direction[i]!) });
    const h = 1e-4;
    const expected = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h);
    const got = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
    expect(Math.abs(got - expected)).toBeLessThan(1e-9 * Math.max(1, Math.abs(expected)));
  }
});

test('what no trained parameter feeds is not differentiated', () => {
  const nodes = (graph: Graph) => autodiff(graph).nodes.filter((node) => node.phase === 'backward');
  const upper = nodes(models[3]![1]);
  expect(upper.some((node) => node.scope === 'layers.0')).toBe(false);
  expect(upper.length).toBeLessThan(nodes(models[0]![1]).length);
});

test('nothing to train is an error', () => {
  expect(() => autodiff(setTrainable(attachLoss(tinyDecoder(), lossRule('linear_ce')), () => false))).toThrow(
    /no trainable parameter/,
  );
});

describe('LoRA', () => {
  const graph = attachLoss(tinyDecoder(), lossRule('linear_ce'));

  test('with B of zeros leaves the model as it is', () => {
    const adapted = insertLora(graph, adapters);
    const feeds = feedsFor(adapted);
    for (const name of Object.keys(feeds)) if (name.endsWith('lora_B.weight')) feeds[name]!.fill(0);
    expect(lossOf(adapted, feeds)).toBe(lossOf(graph, feeds));
  });

  test.each([
    [false, 3 / 2],
    [true, 3 / Math.sqrt(2)],
  ])('rslora %s scales the adapter by %d: merged into W it is the same model', (rslora, scale) => {
    const adapted = insertLora(graph, { ...adapters, rslora, dropout: 0 });
    const feeds = feedsFor(adapted);
    const merged = { ...feeds };
    for (const base of Object.keys(feeds).filter(
      (name) => feeds[name.replace('.weight', '.lora_A.weight')],
    )) {
      if (!base.endsWith('_proj.weight')) continue;
      const a = feeds[base.replace('.weight', '.lora_A.weight')]!;
      const b = feeds[base.replace('.weight', '.lora_B.weight')]!;
      const inputs = a.length / 2; // of two rows
      merged[base] = feeds[base]!.map((w, i) => {
        const [row, column] = [Math.floor(i / inputs), i % inputs];
        return w + scale * (b[row * 2]! * a[column]! + b[row * 2 + 1]! * a[inputs + column]!);
      });
    }
    expect(merged).not.toEqual(feeds);
    expect(lossOf(graph, merged)).toBeCloseTo(lossOf(adapted, feeds), 12);
  });

  test('a pattern that matches nothing lists the linears there are', () => {
    expect(() => insertLora(graph, { ...adapters, matches: () => false })).toThrow(
      /layers\.1\.mlp\.down_proj/,
    );
  });

  test('adapters have the shapes that peft gives them', () => {
    const adapted = insertLora(graph, adapters);
    const shape = (name: string) => adapted.values.find((value) => value.name === name)?.shape;
    expect(shape('model.layers.0.self_attn.k_proj.lora_A.weight')).toEqual([2, 6]);
    expect(shape('model.layers.0.self_attn.k_proj.lora_B.weight')).toEqual([8, 2]);
  });
});
