import { lossRule } from '../../../components/loss/index.js';
import { createContext, engineCapabilities } from '../../../engine/index.js';
import type { CompiledTraining, Graph, Value } from '../../../graph/index.js';
import { elements, GraphBuilder, PlanInterpreter } from '../../../graph/index.js';
import { activationNames } from '../../../graph/ops/activation.js';
import { compileTraining, inputSlots } from './checked.js';
import { scaledParameters } from './scaled_parameters.js';
import { difference, feedsFor, tinyDecoder } from './tiny_decoder.js';

const shape = { T: 19, D: 24, H: 4, G: 2, K: 8, F: 31, V: 37 };
const lora = {
  rank: 3,
  alpha: 6,
  rslora: false,
  dropout: 0.25,
  matches: (module: string) => module.endsWith('_proj'),
};

const adapters = { full: null, LoRA: lora } as const;

function compileStep(method: keyof typeof adapters, precision: 'f32' | 'bf16', mode: 'none' | 'full') {
  return compileTraining({
    graph: tinyDecoder(shape),
    lora: adapters[method],
    precision,
    recompute: { mode },
    loss: lossRule('linear_ce'),
    optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0.1 },
  });
}

/**
 * Feeds that float32 holds exactly, with weights of the size that models start from: softmax and norms are then well
 * conditioned, and what is left of a difference is the engine's own rounding.
 */
function exactFeeds(graph: Graph): Record<string, Float64Array> {
  const scale = (name: string) => (/(_proj|embed_tokens)/.test(name) ? 0.25 : 1);
  return Object.fromEntries(
    Object.entries(feedsFor(graph)).map(([name, data]) => [
      name,
      data.map((x) => Math.fround(scale(name) * x)),
    ]),
  );
}

/** Gradients of two micro-batches in float64, exactly or with the engine's roundings. */
function interpretStep({ plan, graph, tensors }: CompiledTraining, rounding: boolean) {
  const feeds = exactFeeds(graph);
  const memory = tensors.map(({ name, shape: s }) => [name, feeds[name] ?? new Float64Array(elements(s))]);
  const machine = new PlanInterpreter(plan, Object.fromEntries(memory), { rounding });
  machine.run('micro', feeds, { first: true });
  machine.run('micro', feeds, { first: false });
  return machine.tensors;
}

/** The same in the engine, which fills ranges with NaN as soon as the plan is done with them. */
async function runStep({ plan, graph, tensors }: CompiledTraining, isa: string) {
  const feeds = exactFeeds(graph);
  const context = createContext({ isa, threads: 1 });
  try {
    context.poison(true);
    for (const { name, dtype, shape: s } of tensors) {
      context.allocate(name, dtype, s);
      if (feeds[name] !== undefined) context.write(name, Float32Array.from(feeds[name]));
    }
    const inputs = Object.fromEntries(
      inputSlots(plan, 'micro').map(({ name, dtype }) => [
        name,
        dtype === 'i32' ? Int32Array.from(feeds[name]!) : Float32Array.from(feeds[name]!),
      ]),
    );
    const loaded = context.load(plan);
    await loaded.run('micro', inputs, { first: true });
    await loaded.run('micro', inputs, { first: false });
    return Object.fromEntries(tensors.map(({ name }) => [name, Float64Array.from(context.read(name))]));
  } finally {
    context.close();
  }
}

const gradientsOf = ({ trained }: CompiledTraining) => trained.map((name) => `grad:${name}`);

const cases = engineCapabilities().isas.flatMap((isa) =>
  (['full', 'LoRA'] as const).map((method) => [isa, method] as const),
);

test.each(cases)('%s, %s, f32: the engine’s gradients are the interpreter’s', async (isa, method) => {
  const compiled = compileStep(method, 'f32', 'none');
  const exact = interpretStep(compiled, false);
  const native = await runStep(compiled, isa);
  for (const name of [...gradientsOf(compiled), 'stat:loss']) {
    expect(difference(native[name]!, exact[name]!)).toBeLessThan(1e-5);
  }
});

test.each(cases)('%s, %s, bf16: no further from exact than rounding alone, twice', async (isa, method) => {
  const compiled = compileStep(method, 'bf16', 'none');
  const exact = interpretStep(compiled, false);
  const rounded = interpretStep(compiled, true);
  const native = await runStep(compiled, isa);
  for (const name of [...gradientsOf(compiled), 'stat:loss']) {
    const allowed = 2 * difference(rounded[name]!, exact[name]!) + 2 ** -9;
    expect(difference(native[name]!, exact[name]!)).toBeLessThan(allowed);
  }
});

/** A layer for each activation function, which it has with a gate and without. */
function activationLayers(): Graph {
  const g = new GraphBuilder('activations', { T: 19, D: 24, F: 31, 'v:F': 29, V: 37 });
  const embedVD = g.param('embed_tokens.weight', 'f32', 'V D');
  let xTD = g.embedding('embed', embedVD, g.input('ids', 'i32', 'T'));
  for (const fn of activationNames) {
    g.scope(`layers.${fn}`, () => {
      const project = (name: string, x: Value, axes: string) =>
        g.linear(name, x, g.param(`layers.${fn}.${name}_proj.weight`, 'f32', axes));
      const gatedTF = g.glu('gated', project('gate', xTD, 'F D'), project('up', xTD, 'F D'), fn);
      const hTF = g.act('h', project('inner', gatedTF, 'v:F F'), fn);
      xTD = g.add('out', xTD, project('down', hTF, 'D v:F'));
    });
  }
  g.output('hidden', xTD);
  g.output('head', embedVD);
  return g.build();
}

test.each(
  engineCapabilities().isas.flatMap((isa) =>
    (['f32', 'bf16'] as const).map((precision) => [isa, precision] as const),
  ),
)('%s, %s: every activation function and its gradient are the interpreter’s', async (isa, precision) => {
  const compiled = compileTraining({
    graph: activationLayers(),
    precision,
    loss: lossRule('linear_ce'),
    optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0.1 },
  });
  const exact = interpretStep(compiled, false);
  const rounded = interpretStep(compiled, true);
  const native = await runStep(compiled, isa);
  for (const name of [...gradientsOf(compiled), 'stat:loss']) {
    const rounding = 2 * difference(rounded[name]!, exact[name]!) + 2 ** -9;
    const allowed = precision === 'f32' ? 1e-5 : rounding;
    expect([name, difference(native[name]!, exact[name]!) < allowed]).toEqual([name, true]);
  }
});

test.each(cases)('%s, %s, bf16: recomputed activations give the same bits', async (isa, method) => {
  const plain = await runStep(compileStep(method, 'bf16', 'none'), isa);
  const recomputed = await runStep(compileStep(method, 'bf16', 'full'), isa);
  expect(recomputed).toEqual(plain);
});

test.each(engineCapabilities().isas)(
  '%s: the engine adds up what ops cannot add themselves: scaled parameters, and a loss of several parts',
  async (isa) => {
    const { append } = lossRule('linear_ce');
    const compiled = compileTraining({
      graph: scaledParameters({ T: 19, D: 24, V: 37 }),
      loss: {
        append(g, inputs) {
          const ce = g.add('sum', append(g, inputs), g.scale('twice', g.param('scalar', 'f32', '1'), 2));
          return g.scale('less', g.add('all', ce, lossRule('masked_ce').append(g, inputs)), 0.1);
        },
        float32: [],
      },
      optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0.1 },
    });
    const accumulates = compiled.plan.records.filter(({ op }) => op === 'accumulate');
    expect(new Set(accumulates.map(({ attrs }) => attrs.accumulate))).toEqual(
      new Set(['after_first', 'always']),
    );
    const exact = interpretStep(compiled, false);
    const native = await runStep(compiled, isa);
    for (const name of [...gradientsOf(compiled), 'stat:loss'])
      expect(difference(native[name]!, exact[name]!)).toBeLessThan(1e-5);
  },
);
