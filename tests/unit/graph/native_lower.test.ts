/** A plan without a kernel for any op that has a fallback, with an optimizer that is a formula: in every kernel set. */
import { lossRule } from '../../../components/loss/index.js';
import { engineCapabilities } from '../../../engine/index.js';
import type { CompiledTraining, LossRule, TrainingOptions } from '../../../graph/index.js';
import { optimizerOp, planOps, registerOp } from '../../../graph/index.js';
import { compileTraining } from './checked.js';
import { changedTensors, interpretSteps, runSteps } from './native_steps.js';
import { difference, tinyDecoder } from './tiny_decoder.js';

/** Lion (Chen et al. 2023). */
const lion = optimizerOp({
  name: 'test_lion',
  scalars: ['lr', 'beta1', 'beta2'],
  states: ['m'],
  update(math, { p, g, states: { m }, scalars: { lr, beta1, beta2 }, weightDecay }) {
    const mixed = (beta: typeof p) =>
      math.add(math.multiply(m, beta), math.multiply(g, math.subtract(1, beta)));
    // tanh in place of the sign, which a rounding may turn.
    const direction = math.add(math.tanh(math.multiply(mixed(beta1), 10)), math.multiply(p, weightDecay));
    return { p: math.subtract(p, math.multiply(direction, lr)), m: mixed(beta2) };
  },
});
registerOp(lion);

const withFallback = new Set(
  planOps.filter(({ fallback }) => fallback !== undefined).map(({ name }) => name),
);
const kernels = new Set(
  planOps.map(({ name }) => name).filter((name) => !withFallback.has(name.replace(/_grad$/, ''))),
);

/** Cross-entropy written with log-probabilities, whose gradient is made of primitives. */
const ofLogprobs: LossRule = {
  append(builder, { hidden, head, labels, weight }) {
    const attrs = { compute: 'f32', chunk_rows: 4 };
    const [logprobs] = builder.emit('linear_logprobs', [hidden, head, labels], attrs);
    const [sum] = builder.emit('einsum', [logprobs!, weight], { spec: 't,o->o' });
    return builder.scale('loss', sum!, -1);
  },
  float32: [],
};

const compile = (precision: 'f32' | 'bf16', change: Partial<TrainingOptions> = {}): CompiledTraining =>
  compileTraining({
    graph: tinyDecoder({ T: 19, D: 24, K: 8, F: 31, V: 37 }),
    precision,
    recompute: { mode: 'full' },
    loss: lossRule('linear_ce'),
    optimizer: { op: 'test_lion', attrs: {}, weightDecay: () => 0.1 },
    kernels,
    ...change,
  });

describe.each(engineCapabilities().isas)('%s', (isa) => {
  test('f32: the engine trains as the interpreter does', async () => {
    const compiled = compile('f32');
    expect(compiled.lowered.map(({ op }) => op).sort()).toEqual([
      'attention',
      'embedding',
      'glu',
      'linear_cross_entropy',
      'rmsnorm',
      'rope',
      'test_lion',
    ]);
    const exact = interpretSteps(compiled, false);
    const native = await runSteps(compiled, isa, 1);
    for (const name of changedTensors(compiled))
      expect([name, difference(native[name]!, exact[name]!) < 1e-5]).toEqual([name, true]);
  });

  test('a loss of log-probabilities is trained', async () => {
    const compiled = compile('f32', { loss: ofLogprobs, kernels: new Set(planOps.map(({ name }) => name)) });
    expect(compiled.lowered.map(({ op }) => op)).toEqual(['test_lion']);
    const [exact, native] = [interpretSteps(compiled, false), await runSteps(compiled, isa, 1)];
    for (const name of changedTensors(compiled))
      expect([name, difference(native[name]!, exact[name]!) < 1e-5]).toEqual([name, true]);
  });

  test('bf16: no further from exact than rounding alone, twice', async () => {
    const compiled = compile('bf16');
    const [exact, rounded] = [interpretSteps(compiled, false), interpretSteps(compiled, true)];
    const native = await runSteps(compiled, isa, 1);
    for (const name of changedTensors(compiled)) {
      const allowed = 2 * difference(rounded[name]!, exact[name]!) + 2 ** -9;
      expect([name, difference(native[name]!, exact[name]!) < allowed]).toEqual([name, true]);
    }
  });

  test('three threads compute the bits of one', async () => {
    const compiled = compile('bf16');
    expect(await runSteps(compiled, isa, 3)).toEqual(await runSteps(compiled, isa, 1));
  });
});
