import type { Graph } from '../../../graph/index.js';
import { GraphBuilder, GraphError, interpret, opOf, planOps } from '../../../graph/index.js';
import { autodiff } from '../../../graph/passes/autodiff.js';
import { type Case, cases, declareInputs, type Sizes } from './op_cases.js';
import { difference, feedsFor } from './tiny_decoder.js';

const shapes: Sizes[] = [
  { T: 1, D: 1, H: 1, G: 1, K: 2, F: 1, V: 2 },
  { T: 5, D: 3, H: 2, G: 1, K: 2, F: 7, V: 5 },
  { T: 7, D: 6, H: 6, G: 3, K: 4, F: 3, V: 11 },
  { T: 13, D: 5, H: 3, G: 3, K: 6, F: 2, V: 3 },
];

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
  const inputs = declareInputs(g, test);
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
    const survivors = mask().filter((x) => x !== 0);
    expect(new Set(survivors).size).toBe(1);
    expect(survivors[0]).toBeCloseTo(1 / 0.7, 12);
    expect(survivors.length / mask().length).toBeCloseTo(0.7, 1);
  });

  test('draws by place in the pack, not by place in the buffer', () => {
    const offsets = feedsFor(graph).offsets!;
    const shiftedMask = mask({ offsets: [...offsets.slice(1), offsets[0]!] });
    expect(Array.from(shiftedMask.slice(0, 61))).toEqual(Array.from(mask().slice(61, 122)));
  });

  test('draws anew for another step', () => {
    expect(difference(mask({ dropout_key: [17, 0, 6, 0] }), mask())).toBe(1);
  });
});

test.each([
  [true, 0],
  [true, 64],
  [false, 0],
  [false, 64],
])('attention, causal %s, window %i: its FLOPs are those of the keys that tokens see', (causal, window) => {
  const [T, width] = [512, 6];
  const g = new GraphBuilder('flops', { T, P: T });
  const [q, k, v] = ['q', 'k', 'v'].map((name) => g.input(name, 'f32', `T ${width}`));
  const attrs = { compute: 'f32', head_dim: 2, scale: 1, causal, window };
  const inputs = [q!, k!, v!, g.input('spans', 'i32', 'T 2')];
  const outputs = g.emit('attention', inputs, attrs);
  const grad = opOf('attention_grad').flops({ inputs: [q!, ...inputs], outputs, attrs }, { T, P: T });
  const reach = window === 0 ? T : window - 1;
  let seen = 0;
  for (let t = 0; t < T; t++) seen += (causal ? t : Math.min(T - 1, t + reach)) - Math.max(0, t - reach) + 1;
  // Two products of `width` multiply-adds for each key, and five in the gradient; to 1 % by the half keys of the formula.
  const flops = opOf('attention').flops({ inputs, outputs, attrs }, { T, P: T });
  expect(Math.abs(flops / (4 * seen * width) - 1)).toBeLessThan(0.01);
  expect(grad).toBe(2.5 * flops);
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

  test('an activation function that is not there is named with those that are', () => {
    for (const fn of ['mish', 'constructor'])
      expect(() => g.act('y', x, fn)).toThrow(
        `act: fn is '${fn}'; it must be one of silu, gelu, gelu_tanh, quick_gelu, relu2`,
      );
  });

  test('attention takes whole heads, those of q a multiple of those of k and v, and no negative window', () => {
    const attend = (heads: number, kvHeads: number, window: number | null = null) => {
      const [q, k, v] = [heads, kvHeads, kvHeads].map((n, i) => g.input(`${i} ${n}`, 'f32', `T ${2 * n}`));
      const spansT2 = g.input('spans', 'i32', 'T 2');
      const options = { headDim: 2, scale: null, causal: true, window };
      return g.attention('o', { q: q!, k: k!, v: v!, spansT2 }, options);
    };
    expect(attend(4, 2).shape).toEqual([4, 8]);
    expect(() => attend(3, 2)).toThrow('whole heads of size 2, of q a multiple of those of k and v');
    expect(() => attend(4, 1.5)).toThrow('whole heads of size 2');
    expect(() => attend(4, 2, -1)).toThrow('a window of no fewer than 0 tokens');
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
