/** Ops without a kernel run by their fallback: in the interpreter here, and in the engine in native_lower.test.ts. */
import { lossRule } from '../../../components/loss/index.js';
import type { Graph, Op } from '../../../graph/index.js';
import {
  formulaOp,
  GraphBuilder,
  GraphError,
  interpret,
  opOf,
  optimizerOp,
  planOps,
  registerOp,
} from '../../../graph/index.js';
import { autodiff } from '../../../graph/passes/autodiff.js';
import { Lowering } from '../../../graph/passes/lower.js';
import { compileScoring, compileTraining, compileValidation } from './checked.js';
import { lossExpressions } from './loss_expressions.js';
import { difference, feedsFor, tinyDecoder } from './tiny_decoder.js';

/** Every op of a plan but these. */
const without = (...names: string[]): Set<string> =>
  new Set(planOps.map(({ name }) => name).filter((name) => !names.includes(name)));

const loss = lossRule('linear_ce');
const optimizer = { op: 'adamw', attrs: {}, weightDecay: () => 0.1 };
const opsOf = (graph: Graph) => new Set(graph.nodes.map(({ op }) => op));

/** Returns the loss and the gradients after a micro-batch. */
function gradientsOf(graph: Graph): Record<string, Float64Array> {
  const run = interpret(graph, feedsFor(graph), { first: true });
  return Object.fromEntries(Object.entries(run).filter(([name]) => /^(grad:|stat:loss)/.test(name)));
}

test('a plan whose ops all have kernels stays as it is', () => {
  const options = { graph: tinyDecoder(), loss, optimizer };
  const all = compileTraining({ ...options, kernels: without() });
  expect(all.plan).toEqual(compileTraining(options).plan);
  expect(all.lowered).toEqual([]);
});

describe.each(['glu', 'rope', 'rmsnorm', 'attention', 'embedding', 'linear_cross_entropy'])(
  'without a kernel for %s',
  (name) => {
    const lowered = compileTraining({
      graph: tinyDecoder(),
      loss,
      optimizer,
      kernels: without(name, `${name}_grad`),
    });

    test('the plan has primitives in its place, and says so', () => {
      expect(opsOf(lowered.graph)).not.toContain(name);
      expect(opsOf(lowered.graph)).not.toContain(`${name}_grad`);
      const count = compileTraining({ graph: tinyDecoder(), loss, optimizer }).plan.records.filter(
        ({ op, phase }) => op === name && (phase === 'forward' || name === 'linear_cross_entropy'),
      ).length;
      expect(lowered.lowered).toEqual([{ op: name, records: count }]);
    });

    test('the loss and the gradients are the same', () => {
      const expected = gradientsOf(compileTraining({ graph: tinyDecoder(), loss, optimizer }).graph);
      const got = gradientsOf(lowered.graph);
      expect(Object.keys(got).sort()).toEqual(Object.keys(expected).sort());
      for (const [key, data] of Object.entries(expected))
        expect([key, difference(got[key]!, data) < 1e-11]).toEqual([key, true]);
    });
  },
);

describe.each(['glu', 'rmsnorm', 'attention', 'embedding'])(
  'with a kernel for %s but none for its gradient',
  (name) => {
    const kernels = without(`${name}_grad`);

    test('training lowers the op as well, and computes the same', () => {
      const lowered = compileTraining({ graph: tinyDecoder(), loss, optimizer, kernels });
      expect(lowered.lowered.map(({ op }) => op)).toEqual([name]);
      expect(opsOf(lowered.graph)).not.toContain(name);
      const expected = gradientsOf(compileTraining({ graph: tinyDecoder(), loss, optimizer }).graph);
      const got = gradientsOf(lowered.graph);
      for (const [key, data] of Object.entries(expected))
        expect([key, difference(got[key]!, data) < 1e-11]).toEqual([key, true]);
    });

    test('validation keeps it', () => {
      expect(compileValidation({ graph: tinyDecoder(), loss, kernels }).lowered).toEqual([]);
    });
  },
);

test('a gradient that has a fallback of its own is lowered alone', () => {
  const preference = { append: lossExpressions.preference!, float32: [] };
  const compile = (kernels: Set<string>) =>
    compileTraining({ graph: tinyDecoder(), loss: preference, optimizer, kernels });
  const [whole, lowered] = [compile(without()), compile(without('linear_logprobs_grad'))];
  expect(lowered.lowered).toEqual([{ op: 'linear_logprobs_grad', records: 1 }]);
  const [expected, got] = [gradientsOf(whole.graph), gradientsOf(lowered.graph)];
  for (const [key, data] of Object.entries(expected))
    expect([key, difference(got[key]!, data) < 1e-11]).toEqual([key, true]);
});

test('an op keeps its kernel where nothing asks for the gradient that has none', () => {
  const lora = { rank: 2, alpha: 4, rslora: false, dropout: 0, matches: () => true };
  const kernels = without('embedding_grad', 'reduce_rows');
  const compiled = compileTraining({ graph: tinyDecoder({ bias: true }), loss, optimizer, lora, kernels });
  expect(compiled.lowered).toEqual([]);
});

test('a gradient without a kernel is refused by name where its op has no fallback', () => {
  const graph = tinyDecoder({ bias: true });
  expect(() => compileTraining({ graph, loss, optimizer, kernels: without('reduce_rows') })).toThrow(
    "the target has no kernel for op 'reduce_rows', which the gradient of op 'matmul' needs, and neither op has a fallback",
  );
});

test('an op in a fallback gives way too where its gradient has no kernel', () => {
  registerOp({
    ...formulaOp({
      name: 'test_norm',
      attributes: {},
      compute: (math, [x, w]) => [math.emit('rmsnorm', [x!, w!], { eps: 1e-5 })[0]!],
    }),
  });
  const g = new GraphBuilder('norm', { T: 3, D: 2 });
  const [y] = g.emit('test_norm', [g.param('x', 'f32', 'T D'), g.param('w', 'f32', 'D')]);
  const [one] = g.emit('literal', [], { axes: '1', values: [1] });
  g.output('loss', g.emit('einsum', [y!, one!], { spec: 'td,z->z' })[0]!);
  const lowering = new Lowering(without('rmsnorm_grad'));
  lowering.all(autodiff(lowering.forward(g.build())));
  expect(lowering.lowered.map(({ op }) => op)).toEqual(['test_norm', 'rmsnorm']);
});

test('validation and scoring are lowered too', () => {
  const kernels = without('linear_cross_entropy', 'linear_logprobs');
  const validation = compileValidation({ graph: tinyDecoder(), loss, kernels });
  expect(validation.lowered).toEqual([{ op: 'linear_cross_entropy', records: 1 }]);
  const scoring = compileScoring({ graph: tinyDecoder(), kernels });
  expect(scoring.lowered).toEqual([{ op: 'linear_logprobs', records: 1 }]);
  const plain = compileScoring({ graph: tinyDecoder() });
  const feeds = feedsFor(plain.graph);
  const [a, b] = [plain, scoring].map(({ graph }) => interpret(graph, feeds).logprobs!);
  expect(difference(a!, b!)).toBeLessThan(1e-12);
});

test('values keep their types in bf16, and lowered layers can be recomputed', () => {
  const options = { graph: tinyDecoder(), loss, optimizer, precision: 'bf16' as const };
  const recompute = { mode: 'full' as const };
  const compiled = compileTraining({ ...options, recompute, kernels: without('glu', 'glu_grad') });
  const h = compiled.graph.values.find(({ name }) => name === 'layers.0.h')!;
  expect(h.dtype).toBe('bf16');
  expect(
    difference(
      gradientsOf(compiled.graph)['grad:model.embed_tokens.weight']!,
      gradientsOf(compileTraining({ ...options, recompute }).graph)['grad:model.embed_tokens.weight']!,
    ),
  ).toBeLessThan(1e-11);
});

test('an op with neither a kernel nor a fallback is refused by name', () => {
  expect(() =>
    compileTraining({ graph: tinyDecoder(), loss, optimizer, kernels: without('matmul') }),
  ).toThrow("the target has no kernel for op 'matmul', and the op has no fallback");
});

/** A graph of one op on x [T D]. */
function graphOf(op: string, attrs = {}): Graph {
  const g = new GraphBuilder('own', { T: 3, D: 2 });
  g.output('y', g.emit(op, [g.input('x', 'f32', 'T D')], attrs)[0]!);
  return g.build();
}

describe('ops of one’s own', () => {
  const square = formulaOp({
    name: 'test_square',
    attributes: {},
    compute: (math, [x]) => [math.square(x!)],
  });
  const fourth = formulaOp({
    name: 'test_fourth',
    attributes: {},
    compute: (math, [x]) => math.emit('test_square', math.emit('test_square', [x!])),
  });
  const circle: Op = { ...square, name: 'test_circle', fallback: (emit, [x]) => emit('test_circle', [x!]) };
  const wrong: Op = {
    ...square,
    name: 'test_wrong',
    fallback: (emit, [x]) => emit('einsum', [x!], { spec: 'td->t' }),
  };
  beforeAll(() => [square, fourth, circle, wrong].forEach(registerOp));

  test('a fallback in ops that have fallbacks of their own is followed to the end', () => {
    const lowering = new Lowering(null);
    const graph = lowering.all(graphOf('test_fourth'));
    expect([...opsOf(graph)]).toEqual(['binary']);
    expect(lowering.lowered).toEqual([
      { op: 'test_fourth', records: 1 },
      { op: 'test_square', records: 2 },
    ]);
    const x = [1, -2, 3, 0.5, -1, 2];
    const y = graph.values[graph.outputs.y!]!.name;
    expect([...interpret(graph, { x })[y]!]).toEqual(x.map((v) => v ** 4));
    expect([...interpret(graphOf('test_fourth'), { x })[y]!]).toEqual(x.map((v) => v ** 4));
  });

  test('a fallback that leads back to its op is refused', () => {
    expect(() => new Lowering(null).all(graphOf('test_circle'))).toThrow(
      'a fallback leads back to its op: test_circle → test_circle',
    );
  });

  test('a fallback of another shape is refused', () => {
    expect(() => new Lowering(null).all(graphOf('test_wrong'))).toThrow(
      "the fallback of op 'test_wrong' makes [3] for its output 0, [3, 2]",
    );
  });

  test('a gradient of one’s own is kept, and lowered after it', () => {
    const gradient = formulaOp({
      name: 'test_cube_grad',
      attributes: {},
      compute: (math, [dy, x]) => [math.multiply(math.multiply(dy!, math.square(x!)), 3)],
    });
    const cube: Op = {
      ...formulaOp({
        name: 'test_cube',
        attributes: {},
        compute: (math, [x]) => [math.multiply(math.square(x!), x!)],
      }),
      vjp: (emit, { inputs }, [dy]) => emit('test_cube_grad', [dy!, inputs[0]!]),
    };
    [gradient, cube].forEach(registerOp);
    const g = new GraphBuilder('cube', { T: 3, D: 2 });
    const [y] = g.emit('test_cube', [g.param('x', 'f32', 'T D')]);
    const [one] = g.emit('literal', [], { axes: '1', values: [1] });
    g.output('loss', g.emit('einsum', [y!, one!], { spec: 'td,z->z' })[0]!);
    const lowering = new Lowering(null);
    const graph = lowering.all(autodiff(lowering.forward(g.build())));
    expect(lowering.lowered).toEqual([
      { op: 'test_cube', records: 1 },
      { op: 'test_cube_grad', records: 1 },
    ]);
    const x = [1, -2, 3, 0.5, -1, 2];
    const name = graph.values[graph.outputs['grad:x']!]!.name;
    expect([...interpret(graph, { x })[name]!]).toEqual(x.map((v) => 3 * v ** 2));
  });

  test('a name that is taken, and an op that nothing can run, are refused', () => {
    expect(() => registerOp(square)).toThrow("the op 'test_square' is registered twice");
    const { fallback: _, ...bare } = square;
    expect(() => registerOp({ ...bare, name: 'test_bare' })).toThrow("the op 'test_bare' has no fallback");
    expect(() => opOf('test_bare')).toThrow(GraphError);
  });
});

test('AdamW as a formula updates as the op does', () => {
  registerOp(
    optimizerOp({
      name: 'test_adamw',
      scalars: ['lr', 'beta1', 'beta2', 'eps', 'bias_correction1', 'bias_correction2'],
      states: ['m', 'v'],
      update(math, { p, g, states, scalars, weightDecay }) {
        const mix = (old: typeof p, now: typeof p, beta: typeof p) =>
          math.add(math.multiply(old, beta), math.multiply(now, math.subtract(1, beta)));
        const m = mix(states.m, g, scalars.beta1);
        const v = mix(states.v, math.square(g), scalars.beta2);
        const root = math.sqrt(math.divide(v, scalars.bias_correction2));
        const step = math.divide(math.divide(m, scalars.bias_correction1), math.add(root, scalars.eps));
        const decayed = math.subtract(p, math.multiply(p, math.multiply(scalars.lr, weightDecay)));
        return { p: math.subtract(decayed, math.multiply(step, scalars.lr)), m, v };
      },
    }),
  );
  const compile = (op: string) =>
    compileTraining({ graph: tinyDecoder(), loss, optimizer: { ...optimizer, op } });
  const [native, formula] = [compile('adamw'), compile('test_adamw')];
  expect(formula.lowered).toEqual([{ op: 'test_adamw', records: formula.trained.length }]);
  expect(formula.tensors.map(({ name }) => name).sort()).toEqual(
    native.tensors.map(({ name }) => name).sort(),
  );
  for (const change of [{}, { max_norm: [0] }, { weight: [Number.NaN] }]) {
    const feeds: Record<string, ArrayLike<number>> = { ...feedsFor(native.graph), ...change };
    const expected = interpret(native.graph, feeds, { first: true });
    const got = interpret(
      formula.graph,
      { ...feeds, test_adamw_scalars: feeds.adamw_scalars! },
      { first: true },
    );
    for (const { name, role } of native.tensors) {
      if (role !== 'trained' && role !== 'optimizer') continue;
      expect([name, difference(got[name]!, expected[name]!) < 1e-13]).toEqual([name, true]);
    }
  }
});

test('an update that forgets a state is refused by name', () => {
  const forgetful = { name: 'test_forgetful', scalars: [], states: ['m'] } as const;
  registerOp(optimizerOp({ ...forgetful, update: (_math, { p }) => ({ p }) as Record<'p' | 'm', typeof p> }));
  expect(() =>
    compileTraining({ graph: tinyDecoder(), loss, optimizer: { ...optimizer, op: 'test_forgetful' } }),
  ).toThrow("the update of optimizer 'test_forgetful' does not return 'm'");
});
