import { lossRule } from '../../../components/loss/index.js';
import type { CompiledTraining, Graph, LossRule } from '../../../graph/index.js';
import { GraphBuilder, GraphError, interpret, outputOf, PlanInterpreter } from '../../../graph/index.js';
import { compileTraining, compileValidation } from './checked.js';
import { runMicro } from './run_micro.js';
import { difference, feedsFor, tinyDecoder } from './tiny_decoder.js';

type Append = LossRule['append'];

const parts: Record<string, Append> = {
  linear: lossRule('linear_ce').append,
  chunked: lossRule('chunked_ce').append,
  /** Cross-entropy of half the hidden states: a second loss that reads the head. */
  auxiliary: (g, inputs) =>
    lossRule('linear_ce').append(g, { ...inputs, hidden: g.scale('half', inputs.hidden, 0.5) }),
  otherHead: (g, inputs) =>
    lossRule('chunked_ce').append(g, { ...inputs, head: g.param('other_head.weight', 'f32', 'V D') }),
  /** A trained scalar, which no micro-batch changes. */
  scalar: (g) => g.param('scalar', 'f32', '1'),
};

/** Σ factor · part, written as its expression says. */
interface Expression {
  readonly append: Append;
  readonly sum: Readonly<Record<string, number>>;
}

const expressions: Record<string, Expression> = {
  'ce + aux': {
    append: (g, inputs) => g.add('sum', parts.linear!(g, inputs), parts.auxiliary!(g, inputs)),
    sum: { linear: 1, auxiliary: 1 },
  },
  'aux + ce of logits': {
    append: (g, inputs) => g.add('sum', parts.auxiliary!(g, inputs), parts.chunked!(g, inputs)),
    sum: { auxiliary: 1, chunked: 1 },
  },
  // The backward pass makes the second part first, and the first is alone with its head.
  'ce + ce of another head': {
    append: (g, inputs) => g.add('sum', parts.linear!(g, inputs), parts.otherHead!(g, inputs)),
    sum: { linear: 1, otherHead: 1 },
  },
  '0.1 · ce': {
    append: (g, inputs) => g.scale('less', parts.linear!(g, inputs), 0.1),
    sum: { linear: 0.1 },
  },
  '-2 · (ce + 0.25 · aux) + scalar': {
    append(g, inputs) {
      const aux = g.scale('less', parts.auxiliary!(g, inputs), 0.25);
      const both = g.scale('twice', g.add('sum', parts.linear!(g, inputs), aux), -2);
      return g.add('all', both, parts.scalar!(g, inputs));
    },
    sum: { linear: -2, auxiliary: -0.5, scalar: 1 },
  },
  'scalar + ce + 0.5 · ce': {
    append(g, inputs) {
      const ce = parts.linear!(g, inputs);
      return g.add('all', g.add('sum', parts.scalar!(g, inputs), ce), g.scale('half', ce, 0.5));
    },
    sum: { scalar: 1, linear: 1.5 },
  },
};

const models: Record<string, Graph> = {
  tied: tinyDecoder({ layers: 1 }),
  untied: tinyDecoder({ layers: 1, tied: false }),
};

const compile = (graph: Graph, append: Append, precision: 'f32' | 'bf16' = 'f32') =>
  compileTraining({
    graph,
    precision,
    loss: { append, float32: [] },
    optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0 },
  });

/** Two micro-batches. A parameter that a loss does not read has the gradient 0. */
function feedsOf(graph: Graph) {
  const feeds = feedsFor(graph);
  return [feeds, { ...feeds, ids: feeds.ids!.toReversed() }];
}

const cases = Object.entries(expressions).flatMap(([name, expression]) =>
  Object.entries(models).map(([model, graph]) => [name, model, expression, graph] as const),
);

test.each(cases)(
  '%s, %s: loss and gradients are the sums of those of its parts, over micro-batches',
  (_name, _model, { append, sum }, graph) => {
    const whole = compile(graph, append);
    const feeds = feedsOf(whole.graph);
    const { tensors } = runMicro(whole, ...feeds);
    const names = ['stat:loss', ...whole.trained.map((name) => `grad:${name}`)];
    const expected = Object.fromEntries(names.map((name) => [name, new Float64Array(tensors[name]!.length)]));
    for (const [part, factor] of Object.entries(sum)) {
      const alone = runMicro(compile(graph, parts[part]!), ...feeds).tensors;
      for (const name of names)
        expected[name] = expected[name]!.map((x, i) => x + factor * (alone[name]?.[i] ?? 0));
    }
    for (const name of names) expect(difference(tensors[name]!, expected[name]!)).toBeLessThan(1e-12);
  },
);

test.each(Object.entries(expressions))(
  '%s: the reported loss is the whole expression',
  (_name, { append }) => {
    const compiled = compile(models.tied!, append);
    const feeds = feedsOf(compiled.graph);
    const loss = (inputs: (typeof feeds)[number]) => {
      const g = GraphBuilder.from(models.tied!);
      const [hidden, head] = [outputOf(models.tied!, 'hidden'), outputOf(models.tied!, 'head')];
      const [labels, weight] = [g.input('labels', 'i32', 'T'), g.input('weight', 'f32', '1')];
      const { name } = append(g, { hidden, head, labels, weight });
      return interpret(g.build(), inputs)[name]![0]!;
    };
    const engine = runMicro(compiled, ...feeds);
    const reported = engine.run('norm', feeds[0]!, { first: false }).loss![0]!;
    expect(reported).toBeCloseTo(loss(feeds[0]!) + loss(feeds[1]!), 12);
  },
);

test('validation reports the whole expression too', () => {
  const { append } = expressions['-2 · (ce + 0.25 · aux) + scalar']!;
  const [training, validation] = [
    compile(models.tied!, append),
    compileValidation({ graph: models.tied!, loss: { append, float32: [] } }),
  ];
  const feeds = feedsFor(training.graph);
  const tensors = Object.fromEntries(validation.tensors.map(({ name }) => [name, feeds[name]!]));
  const { loss } = new PlanInterpreter(validation.plan, tensors).run('micro', feeds, { first: true });
  expect(loss![0]).toBeCloseTo(runMicro(training, feeds).tensors['stat:loss']![0]!, 12);
});

const recordsOf = ({ plan }: CompiledTraining, op: string) =>
  plan.records.filter((record) => record.op === op);

test('a loss that is added or scaled still makes its gradient in the record that makes it, and adds both', () => {
  for (const name of ['0.1 · ce', 'scalar + ce + 0.5 · ce']) {
    const [record, ...others] = recordsOf(
      compile(models.untied!, expressions[name]!.append),
      'linear_cross_entropy',
    );
    expect(others).toEqual([]);
    expect(record!.attrs).toMatchObject({ dx: true, dw: true, accumulate: 'after_first' });
  }
  const both = compile(models.untied!, expressions['ce + aux']!.append);
  const modes = recordsOf(both, 'linear_cross_entropy').map(({ attrs }) => attrs.accumulate);
  expect(modes).toEqual(['after_first', 'always']);
});

test('where the loss and a gradient disagree on which node is first, only a scalar is added by a node of its own', () => {
  const compiled = compile(models.untied!, expressions['ce + ce of another head']!.append);
  const [record] = recordsOf(compiled, 'linear_cross_entropy');
  expect(record!.attrs).toMatchObject({ dw: true, accumulate: 'after_first' });
  const accumulated = recordsOf(compiled, 'accumulate').flatMap(({ outputs }) =>
    Object.values(outputs).flat(),
  );
  expect(accumulated.map((buffer) => compiled.plan.buffers[buffer]!.name)).toEqual(['stat:loss']);
});

test('the parts of a loss and their weights stay float32 in bf16', () => {
  for (const { append } of Object.values(expressions)) {
    const { plan } = compile(models.tied!, append, 'bf16');
    const scalars = plan.buffers.filter(({ shape }) => shape.length === 1 && shape[0] === 1);
    expect(new Set(scalars.map(({ dtype }) => dtype))).toEqual(new Set(['f32']));
  }
});

test('a loss is an f32 [1]', () => {
  const append: Append = (_g, { hidden }) => hidden;
  expect(() => compile(models.tied!, append)).toThrow(
    new GraphError('graph tiny: the loss is norm[T D] f32, and should be an f32 [1]'),
  );
});

test('a loss of log-probabilities trains as the cross-entropy that it equals', () => {
  const append: Append = (g, { hidden, head, labels, weight }) => {
    const attrs = { compute: 'f32', chunk_rows: 4 };
    const [logprobs] = g.emit('linear_logprobs', [hidden, head, labels], attrs);
    const [sum] = g.emit('einsum', [logprobs!, weight], { spec: 't,o->o' });
    return g.scale('loss', sum!, -1);
  };
  const [composed, fused] = [compile(models.tied!, append), compile(models.tied!, parts.linear!)];
  const feeds = feedsOf(fused.graph);
  const [got, expected] = [runMicro(composed, ...feeds).tensors, runMicro(fused, ...feeds).tensors];
  for (const name of ['stat:loss', ...fused.trained.map((trained) => `grad:${trained}`)])
    expect(difference(got[name]!, expected[name]!)).toBeLessThan(1e-12);
});
