import type { Attrs, DType, Graph, Value } from '../../../graph/index.js';
import { GraphBuilder, GraphError, interpret, opOf, partial, planOps, shard } from '../../../graph/index.js';
import { matmulCall } from '../../../graph/ops/matmul.js';
import { autodiff } from '../../../graph/passes/autodiff.js';
import { difference, feedsFor } from './tiny_decoder.js';

/** An op on inputs of its own; trainable ones are differentiated. */
interface Case {
  op: string;
  attrs: Attrs;
  /** name → axes; integers as `i32:axes`, frozen ones as `frozen:axes`. */
  inputs: Record<string, string>;
}

type Sizes = Record<'T' | 'D' | 'H' | 'G' | 'K' | 'F' | 'V', number>;

const shapes: Sizes[] = [
  { T: 1, D: 1, H: 1, G: 1, K: 2, F: 1, V: 2 },
  { T: 5, D: 3, H: 2, G: 1, K: 2, F: 7, V: 5 },
  { T: 7, D: 6, H: 6, G: 3, K: 4, F: 3, V: 11 },
  { T: 13, D: 5, H: 3, G: 3, K: 6, F: 2, V: 3 },
];

const product = (transA: boolean, transB: boolean, alpha: number) => ({ a: 0, b: 0, transA, transB, alpha });

const matmulCase = (
  inputs: Record<string, string>,
  products: ReturnType<typeof product>[],
  bias = false,
  residual = false,
): Case => ({
  op: 'matmul',
  inputs,
  attrs: matmulCall({ products, bias: bias ? 0 : null, residual: residual ? 0 : null }, 'f32').attrs,
});

const cases = ({ H, G, K }: Sizes): Record<string, Case> => ({
  add: { op: 'add', inputs: { a: 'T D', b: 'T D' }, attrs: {} },
  cast: { op: 'cast', inputs: { x: 'T D' }, attrs: {} },
  scale: { op: 'scale', inputs: { x: 'T D' }, attrs: { alpha: -1.7 } },
  embedding: { op: 'embedding', inputs: { table: 'V D', ids: 'i32:T' }, attrs: {} },
  'matmul x·Wᵀ + bias + residual': matmulCase(
    { x: 'T D', w: 'F D', bias: 'F', residual: 'T F' },
    [product(false, true, 1)],
    true,
    true,
  ),
  'matmul a·b + s·cᵀ·d': matmulCase({ a: 'T D', b: 'D F', c: 'K T', d: 'K F' }, [
    product(false, false, 1),
    product(true, false, 0.5),
  ]),
  'matmul aᵀ·bᵀ': matmulCase({ a: 'D T', b: 'F D' }, [product(true, true, 2)]),
  rmsnorm: { op: 'rmsnorm', inputs: { x: 'T D', w: 'D' }, attrs: { eps: 1e-3 } },
  rope: {
    op: 'rope',
    inputs: { x: 'T HK', table: 'frozen:T K', positions: 'i32:T' },
    attrs: { heads: H, head_dim: K, inverse: false },
  },
  'rope back': {
    op: 'rope',
    inputs: { x: 'T HK', table: 'frozen:T K', positions: 'i32:T' },
    attrs: { heads: H, head_dim: K, inverse: true },
  },
  attention: {
    op: 'attention',
    inputs: { q: 'T HK', k: 'T GK', v: 'T GK', spans: 'i32:T 2' },
    attrs: { compute: 'f32', heads: H, kv_heads: G, head_dim: K, scale: 0.8 },
  },
  'attention in a window of two': {
    op: 'attention',
    inputs: { q: 'T HK', k: 'T GK', v: 'T GK', window_spans: 'i32:T 2' },
    attrs: { compute: 'f32', heads: H, kv_heads: G, head_dim: K, scale: 0.8 },
  },
  'attention over whole documents': {
    op: 'attention',
    inputs: { q: 'T HK', k: 'T GK', v: 'T GK', document_spans: 'i32:T 2' },
    attrs: { compute: 'f32', heads: H, kv_heads: G, head_dim: K, scale: 0.8 },
  },
  swiglu: { op: 'swiglu', inputs: { gate: 'T F', up: 'T F' }, attrs: {} },
  dropout: {
    op: 'dropout',
    inputs: { x: 'T D', dropout_key: 'i32:4', packs: 'i32:T', offsets: 'i32:T' },
    attrs: { probability: 0.3, site: 2 },
  },
  cross_entropy: {
    op: 'cross_entropy',
    inputs: { logits: 'T V', labels: 'i32:T', weight: 'frozen:1' },
    attrs: { grad: false, accumulate: 'never' },
  },
  linear_cross_entropy: {
    op: 'linear_cross_entropy',
    inputs: { x: 'T D', w: 'V D', labels: 'i32:T', weight: 'frozen:1' },
    attrs: { compute: 'f32', dx: false, dw: false, chunk_rows: 4, accumulate: 'never' },
  },
  'einsum of a product summed': {
    op: 'einsum',
    inputs: { a: 'T D', b: 'F D', c: 'T' },
    attrs: { spec: 'td,fd,t->tf' },
  },
  'einsum that sums an axis of one operand': {
    op: 'einsum',
    inputs: { a: 'T D', b: 'T' },
    attrs: { spec: 'td,t->t' },
  },
  reshape: { op: 'reshape', inputs: { x: 'T HK' }, attrs: { axes: `T ${H} ${K}` } },
  shift: { op: 'shift', inputs: { x: 'T D' }, attrs: { by: 0.4 } },
  ...Object.fromEntries(
    ['exp', 'sigmoid', 'tanh', 'abs'].map((fn) => [
      `unary ${fn}`,
      { op: 'unary', inputs: { x: 'T D' }, attrs: { fn } },
    ]),
  ),
  // Steep or undefined near 0: a list's elements are around 1.
  ...Object.fromEntries(
    ['reciprocal', 'log', 'rsqrt', 'sqrt'].map((fn) => [
      `unary ${fn}`,
      { op: 'unary', inputs: { x: 'D' }, attrs: { fn } },
    ]),
  ),
  ...Object.fromEntries(
    ['add', 'subtract', 'multiply', 'divide', 'maximum', 'minimum'].flatMap((fn) => [
      [`binary ${fn}`, { op: 'binary', inputs: { a: 'D', b: 'D' }, attrs: { fn } }],
      [`binary ${fn} by one number`, { op: 'binary', inputs: { a: 'T D', b: '1' }, attrs: { fn } }],
    ]),
  ),
  where: { op: 'where', inputs: { condition: 'frozen:T D', a: 'T D', b: 'T D' }, attrs: {} },
  'where by one number': { op: 'where', inputs: { condition: 'frozen:1', a: 'T D', b: 'T D' }, attrs: {} },
  pick: { op: 'pick', inputs: { x: 'K' }, attrs: { index: 1 } },
  linear_logprobs: {
    op: 'linear_logprobs',
    inputs: { x: 'T D', w: 'V D', targets: 'i32:T' },
    attrs: { compute: 'f32', chunk_rows: 4 },
  },
});

const names = Object.keys(cases(shapes[1]!));
const withFallback = names.filter((name) => {
  const { op } = cases(shapes[1]!)[name]!;
  return opOf(op).fallback !== undefined;
});

/**
 * The op's first output summed with fixed weights to `loss` (or itself where it is a loss), by the op or its fallback.
 */
function graphOf(test: Case, sizes: Sizes, fallback: boolean): Graph {
  const g = new GraphBuilder('case', { ...sizes, P: sizes.T });
  const inputs = Object.entries(test.inputs).map(([name, spec]): Value => {
    const [kind, axes] = spec.includes(':') ? (spec.split(':') as [string, string]) : ['param', spec];
    if (kind === 'param') return g.param(name, 'f32', axes);
    return g.input(name, (kind === 'i32' ? 'i32' : 'f32') as DType, axes);
  });
  const op = opOf(test.op);
  const [y] = fallback ? op.fallback!(g.emit, inputs, test.attrs) : g.emit(test.op, inputs, test.attrs);
  g.output('y', y!);
  if (test.op.endsWith('cross_entropy')) {
    g.output('loss', y!);
  } else {
    const letters = 'abcd'.slice(0, y!.axes.length);
    const weights = g.input('probe', 'f32', y!.axes.join(' '));
    const [one] = g.emit('literal', [], { axes: '1', values: [1] });
    const [sum] = g.emit('einsum', [y!, weights, one!], { spec: `${letters},${letters},z->z` });
    g.output('loss', sum!);
  }
  return g.build();
}

const outputOfRun = (graph: Graph, run: Record<string, Float64Array>, name: string) =>
  run[graph.values[graph.outputs[name]!]!.name]!;

/** Fourth-order central differences of the loss along every element of `name`. */
function finiteDifferences(graph: Graph, feeds: Record<string, Float64Array>, name: string): Float64Array {
  const h = 1e-4;
  return feeds[name]!.map((x, i) => {
    const at = (value: number) => {
      const moved = feeds[name]!.slice();
      moved[i] = value;
      return outputOfRun(graph, interpret(graph, { ...feeds, [name]: moved }), 'loss')[0]!;
    };
    return (8 * (at(x + h) - at(x - h)) - (at(x + 2 * h) - at(x - 2 * h))) / (12 * h);
  });
}

const named = (sizes: Sizes) => Object.values(sizes).join(' ');

describe.each(shapes.map((sizes) => [named(sizes), sizes] as const))('T D H G K F V = %s', (_name, sizes) => {
  test.each(names)('%s: the VJP agrees with finite differences', (name) => {
    const graph = graphOf(cases(sizes)[name]!, sizes, false);
    const differentiated = autodiff(graph);
    const feeds = feedsFor(graph, 3);
    const run = interpret(differentiated, feeds);
    const params = graph.values.filter((value) => value.kind === 'param');
    expect(params.length).toBeGreaterThan(0);
    for (const { name: param } of params) {
      const expected = finiteDifferences(graph, feeds, param);
      const got = outputOfRun(differentiated, run, `grad:${param}`);
      // Good to about h⁴ times the fifth derivative, plus 1e-16 ÷ h, absolute; gradients here are of order 1.
      got.forEach((x, i) => {
        expect(Math.abs(x - expected[i]!)).toBeLessThan(1e-9);
      });
    }
  });

  test.each(withFallback)('%s: equals its fallback in primitives, gradient included', (name) => {
    const test = cases(sizes)[name]!;
    const [fused, plain] = [graphOf(test, sizes, false), graphOf(test, sizes, true)];
    const feeds = feedsFor(fused, 5);
    expect(
      difference(
        outputOfRun(fused, interpret(fused, feeds), 'y'),
        outputOfRun(plain, interpret(plain, feeds), 'y'),
      ),
    ).toBeLessThan(1e-13);
    const params = fused.values.filter((value) => value.kind === 'param').map((value) => value.name);
    const [a, b] = [autodiff(fused), autodiff(plain)];
    const [runA, runB] = [interpret(a, feeds), interpret(b, feeds)];
    for (const param of params) {
      const [x, y] = [outputOfRun(a, runA, `grad:${param}`), outputOfRun(b, runB, `grad:${param}`)];
      x.forEach((value, i) => {
        expect(Math.abs(value - y[i]!)).toBeLessThan(1e-13);
      });
    }
  });
});

test.each([
  ['unary', { fn: 'sign' }],
  ['unary', { fn: 'is_finite' }],
  ['binary', { fn: 'greater' }],
])('no gradient flows through %s %j, which is constant between its steps', (op, attrs) => {
  const inputs: Record<string, string> = op === 'unary' ? { x: 'T D' } : { x: 'T D', y: 'T D' };
  const differentiated = autodiff(graphOf({ op, attrs, inputs }, shapes[1]!, false));
  expect(Object.keys(differentiated.outputs).filter((name) => name.startsWith('grad:'))).toEqual([]);
});

describe('dropout', () => {
  const graph = graphOf(cases({ ...shapes[3]!, D: 61 }).dropout!, { ...shapes[3]!, D: 61 }, false);
  const mask = (change: Record<string, number[]> = {}) => {
    const feeds = feedsFor(graph);
    const ones = { ...feeds, x: feeds.x!.map(() => 1), ...change };
    return outputOfRun(graph, interpret(graph, ones), 'y');
  };

  test('keeps the stated share, scaled to the same mean', () => {
    const kept = mask().filter((x) => x !== 0);
    expect(new Set(kept).size).toBe(1);
    expect(kept[0]).toBeCloseTo(1 / 0.7, 12);
    expect(kept.length / mask().length).toBeCloseTo(0.7, 1);
  });

  test('draws by place in the pack, not by place in the buffer', () => {
    const offsets = feedsFor(graph).offsets!;
    const moved = mask({ offsets: [...offsets.slice(1), offsets[0]!] });
    expect(Array.from(moved.slice(0, 61))).toEqual(Array.from(mask().slice(61, 122)));
  });

  test('draws anew for another step', () => {
    expect(difference(mask({ dropout_key: [17, 0, 6, 0] }), mask())).toBe(1);
  });
});

describe('types', () => {
  const g = new GraphBuilder('types', { T: 4, D: 6, H: 3, K: 2, F: 8, V: 9 });
  const x = g.input('x', 'f32', 'T D');

  test('a product contracts axes by name, not by size', () => {
    expect(() => g.linear('o', x, g.param('o', 'f32', 'D HK'))).toThrow(
      /contract the same axis, not D with HK/,
    );
  });

  test('an axis without a size is named', () => {
    expect(() => g.param('r', 'f32', 'R D')).toThrow(/no size for 'R'/);
  });

  test('a name is declared once', () => {
    expect(() => g.param('x', 'f32', 'D')).toThrow(/'x' is declared twice/);
  });

  test('column then row sharding leaves Partial, which a non-linear op refuses', () => {
    const up = g.linear('up', x, g.param('up', 'bf16', 'F D', shard(0)));
    expect(up.placement).toEqual(shard(1));
    const down = g.linear('down', up, g.param('down', 'bf16', 'D F', shard(1)));
    expect(down.placement).toEqual(partial);
    expect(() => g.rmsnorm('norm', down, g.param('norm', 'bf16', 'D'), 1e-5)).toThrow(
      /Partial: reduce it first/,
    );
    expect(() => g.add('sum', x, down)).toThrow(/must agree/);
  });

  test('rows split over ranks make Partial weight gradients', () => {
    const data = new GraphBuilder('data parallel', { T: 4, D: 2, V: 3 });
    const rows = data.input('rows', 'f32', 'T D', shard(0));
    const labels = data.input('labels', 'i32', 'T', shard(0));
    const logits = data.linear('logits', rows, data.param('w', 'f32', 'V D'));
    const attrs = { grad: false, accumulate: 'never' };
    data.output(
      'loss',
      data.emit('cross_entropy', [logits, labels, data.input('weight', 'f32', '1')], attrs)[0]!,
    );
    const graph = autodiff(data.build());
    expect(graph.values[graph.outputs['grad:w']!]!.placement).toEqual(partial);
  });

  test('an unknown op lists the known ones', () => {
    expect(() => opOf('softmax')).toThrow(GraphError);
    expect(() => opOf('softmax')).toThrow(/linear_cross_entropy/);
  });
});

test('every float input of every plan op with a gradient is covered', () => {
  const covered = new Set(names.map((name) => cases(shapes[1]!)[name]!.op));
  // fill and literal have no inputs; the shift of a softmax cancels out of it, which the fallbacks above show.
  const without = ['fill', 'literal', 'softmax_shift'];
  const differentiable = planOps
    .filter((op) => op.vjp !== undefined && !without.includes(op.name))
    .map((op) => op.name);
  expect(differentiable.filter((name) => !covered.has(name))).toEqual([]);
});
