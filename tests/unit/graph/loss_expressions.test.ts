/** A loss is any scalar expression of ops with a gradient. */
import { engineCapabilities } from '../../../engine/index.js';
import type { CompiledTraining, Graph, LossRule, TrainingOptions } from '../../../graph/index.js';
import { Arithmetic, attachLoss, GraphBuilder, interpret, outputOf, planOps } from '../../../graph/index.js';
import { autodiff } from '../../../graph/passes/autodiff.js';
import { compileTraining } from './checked.js';
import { lossExpressions } from './loss_expressions.js';
import { changedTensors, interpretSteps, runSteps } from './native_steps.js';
import { runMicro } from './run_micro.js';
import { difference, feedsFor, numbers, tinyDecoder } from './tiny_decoder.js';

type Feeds = Record<string, Float64Array>;

const models: Record<string, Graph> = {
  tied: tinyDecoder({ layers: 1 }),
  untied: tinyDecoder({ layers: 1, tied: false }),
};

const ruleOf = (expression: string): LossRule => ({ append: lossExpressions[expression]!, float32: [] });

const compile = (graph: Graph, expression: string, change: Partial<TrainingOptions> = {}): CompiledTraining =>
  compileTraining({
    graph,
    loss: ruleOf(expression),
    optimizer: { op: 'sgd', attrs: { momentum: false }, weightDecay: () => 0 },
    ...change,
  });

/** The inputs of two micro-batches. */
function microBatches({ graph }: CompiledTraining): Feeds[] {
  const feeds = feedsFor(graph);
  return [feeds, { ...feeds, ids: feeds.ids!.toReversed(), labels: feeds.labels!.toReversed() }];
}

const cases = Object.keys(lossExpressions).flatMap((expression) =>
  Object.keys(models).map((model) => [expression, model] as const),
);

/** The loss of the step and its slope along a random direction in all parameters, by the plan and by finite differences. */
function slopes(compiled: CompiledTraining, graph: Graph, expression: string) {
  const feeds = microBatches(compiled);
  const { tensors } = runMicro(compiled, ...feeds);
  const random = numbers(9);
  const directions = compiled.trained.map((name) => [name, feeds[0]![name]!.map(() => random())] as const);
  const slope = directions.reduce(
    (sum, [name, direction]) => sum + direction.reduce((s, d, i) => s + d * tensors[`grad:${name}`]![i]!, 0),
    0,
  );
  const forward = attachLoss(graph, ruleOf(expression));
  const loss = outputOf(forward, 'loss').name;
  const along = (step: number) => {
    const moved = directions.map(([name, direction]) => [
      name,
      feeds[0]![name]!.map((x, i) => x + step * direction[i]!),
    ]);
    const change = Object.fromEntries(moved);
    return feeds.reduce((sum, inputs) => sum + interpret(forward, { ...inputs, ...change })[loss]![0]!, 0);
  };
  const h = 1e-4;
  const differences = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h);
  return { plan: [tensors['stat:loss']![0]!, slope], expected: [along(0), differences] };
}

function expectGradients(compiled: CompiledTraining, graph: Graph, expression: string): void {
  const { plan, expected } = slopes(compiled, graph, expression);
  expect(plan[0]).toBeCloseTo(expected[0]!, 12);
  expect(Math.abs(plan[1]! - expected[1]!)).toBeLessThan(1e-9 * Math.max(1, Math.abs(expected[1]!)));
}

test.each(cases)(
  '%s, %s: loss and gradients agree with finite differences, over micro-batches',
  (expression, model) => {
    const compiled = compile(models[model]!, expression);
    expect(compiled.trained).toEqual(
      attachLoss(models[model]!, ruleOf(expression))
        .values.filter(({ role }) => role === 'trained')
        .map(({ name }) => name),
    );
    expectGradients(compiled, models[model]!, expression);
  },
);

test.each(Object.keys(lossExpressions))('%s: trains without kernels for losses', (expression) => {
  const kernels = planOps.map(({ name }) => name).filter((name) => !/cross_entropy|logprobs/.test(name));
  const compiled = compile(models.untied!, expression, { kernels: new Set(kernels) });
  expectGradients(compiled, models.untied!, expression);
});

test.each(['log(ce), or 0 without a weight', 'ce · aux', 'preference', 'focal'])(
  '%s: a micro-batch of weight 0 adds nothing',
  (expression) => {
    const compiled = compile(models.tied!, expression);
    const [feeds] = microBatches(compiled) as [Feeds];
    const { tensors } = runMicro(compiled, { ...feeds, weight: Float64Array.of(0) });
    for (const name of ['stat:loss', ...compiled.trained.map((trained) => `grad:${trained}`)])
      expect([name, tensors[name]!.every((x) => x === 0)]).toEqual([name, true]);
  },
);

test.each([
  ['ce + 0.1 · aux', 2],
  ['log(ce)', 2],
])('%s takes %i passes over the head', (expression, count) => {
  const { plan } = compile(models.untied!, expression);
  expect(plan.records.filter(({ op }) => op === 'linear_cross_entropy')).toHaveLength(count);
});

test('scalars and lists of a loss stay float32 in bf16', () => {
  for (const expression of Object.keys(lossExpressions)) {
    const { plan } = compile(models.tied!, expression, { precision: 'bf16' });
    const lists = plan.buffers.filter(({ shape, dtype }) => shape.length === 1 && dtype !== 'i32');
    expect(new Set(lists.map(({ dtype }) => dtype))).toEqual(new Set(['f32']));
  }
});

describe.each(engineCapabilities().isas)('%s', (isa) => {
  test.each(Object.keys(lossExpressions))(
    '%s: the engine trains as the interpreter does',
    async (expression) => {
      const compiled = compile(models.untied!, expression);
      const [exact, native] = [interpretSteps(compiled, false), await runSteps(compiled, isa, 1)];
      for (const name of changedTensors(compiled))
        expect([name, difference(native[name]!, exact[name]!) < 1e-5]).toEqual([name, true]);
    },
  );

  test.each(Object.keys(lossExpressions))(
    '%s, bf16: no further from exact than rounding alone, twice',
    async (expression) => {
      const compiled = compile(models.untied!, expression, { precision: 'bf16' });
      const [exact, rounded] = [interpretSteps(compiled, false), interpretSteps(compiled, true)];
      const native = await runSteps(compiled, isa, 1);
      for (const name of changedTensors(compiled)) {
        const allowed = 2 * difference(rounded[name]!, exact[name]!) + 2 ** -9;
        expect([name, difference(native[name]!, exact[name]!) < allowed]).toEqual([name, true]);
      }
    },
  );
});

describe('log σ', () => {
  const g = new GraphBuilder('log sigmoid', { T: 8 });
  const y = new Arithmetic(g.emit).logSigmoid(g.param('x', 'f32', 'T'));
  g.output('loss', g.emit('einsum', [y, g.input('ones', 'f32', '1')], { spec: 't,o->o' })[0]!);
  const x = [0, 1e-9, -1e-9, 3, -3, 30, -1000, 1000];
  const graph = autodiff(g.build());
  const run = interpret(graph, { x, ones: [1] }, { rounding: true });

  test('overflows nowhere', () => {
    const expected = x.map((v) => Math.min(v, 0) - Math.log1p(Math.exp(-Math.abs(v))));
    for (const [i, v] of expected.entries())
      expect(Math.abs(run[y.name]![i]! - v)).toBeLessThan(1e-6 * Math.max(1, -v));
  });

  test('its gradient is σ(−x), at 0 too, where a policy begins', () => {
    const gradient = run[outputOf(graph, 'grad:x').name]!;
    for (const [i, v] of x.entries())
      expect(Math.abs(gradient[i]! - 1 / (1 + Math.exp(v)))).toBeLessThan(1e-6);
  });
});
