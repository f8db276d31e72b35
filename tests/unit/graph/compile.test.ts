import { lossRule } from '../../../components/loss/index.js';
import type { CompiledTraining, Graph, TrainingOptions } from '../../../graph/index.js';
import {
  ArenaTooLarge,
  dtypeBytes,
  elements,
  interpret,
  PlanInterpreter,
  planDigest,
  printPlan,
} from '../../../graph/index.js';
import type { Plan } from '../../../graph/ir/plan.js';
import { autodiff } from '../../../graph/passes/autodiff.js';
import { insertLora as withAdapters } from '../../../graph/passes/lora.js';
import { attachLoss } from '../../../graph/passes/loss.js';
import {
  assemblePlan,
  compileScoring,
  compileTraining,
  compileValidation,
  programRecords,
} from './checked.js';
import { randomOrder } from './random_order.js';
import { scaledParameters } from './scaled_parameters.js';
import { difference, feedsFor, tinyDecoder } from './tiny_decoder.js';

const linearCe = lossRule('linear_ce');
const adamw = { op: 'adamw', attrs: {}, weightDecay: () => 0.1 } as const;
const lora = {
  rank: 3,
  alpha: 6,
  rslora: false,
  dropout: 0.25,
  matches: (module: string) => /(q|v|o|down|gate)_proj$/.test(module),
};

function tensorsFor({ graph, tensors }: CompiledTraining): Record<string, Float64Array> {
  const feeds = feedsFor(graph);
  return Object.fromEntries(
    tensors.map(({ name, shape }) => [name, feeds[name] ?? new Float64Array(elements(shape))]),
  );
}

/** Runs a step of two micro-batches: gradients, what `norm` gives, and the tensors after the update. */
function runStep(plan: Plan, compiled: CompiledTraining, rounding = false) {
  const inputs = feedsFor(compiled.graph);
  const engine = new PlanInterpreter(plan, tensorsFor(compiled), { rounding });
  engine.run('micro', inputs, { first: true });
  engine.run('micro', { ...inputs, ids: inputs.ids!.toReversed() }, { first: false });
  const outputs = engine.run('norm', inputs, { first: false });
  engine.run('update', inputs, { first: false });
  return { outputs, tensors: engine.tensors };
}

const step = (
  options: Omit<TrainingOptions, 'optimizer' | 'loss'> & Partial<Pick<TrainingOptions, 'loss'>>,
  rounding = false,
) => {
  const compiled = compileTraining({ optimizer: adamw, loss: linearCe, ...options });
  return { compiled, ...runStep(compiled.plan, compiled, rounding) };
};

/** The largest difference between the results of two steps. */
function stepDifference(a: ReturnType<typeof runStep>, b: ReturnType<typeof runStep>): number {
  const names = Object.keys(a.tensors).filter((name) => !name.startsWith('const:'));
  const all = names.map((name) => difference(a.tensors[name]!, b.tensors[name]!));
  return Math.max(...all, difference(a.outputs.loss!, b.outputs.loss!));
}

const models: [string, Graph, typeof lora | null][] = [
  ['full, tied', tinyDecoder(), null],
  ['full, untied, biases', tinyDecoder({ tied: false, bias: true }), null],
  ['LoRA with dropout', tinyDecoder(), lora],
  ['parameters that are scaled, shared and read twice', scaledParameters(), null],
  ['LoRA, biases, one layer', tinyDecoder({ bias: true, layers: 1 }), { ...lora, rslora: true }],
];

/** Two programs' buffers that overlap in the arena while both are alive, other than in-place pairs. */
function overlaps(plan: Plan): string[] {
  const overlapping: string[] = [];
  for (const program of Object.keys(plan.programs)) {
    const lives = new Map<number, [number, number]>();
    programRecords(plan, program).forEach(({ inputs, outputs }, r) => {
      for (const b of [...Object.values(inputs), ...Object.values(outputs)].flat()) {
        if (plan.buffers[b]!.space === 'arena') lives.set(b, [lives.get(b)?.[0] ?? r, r]);
      }
    });
    const list = [...lives];
    list.forEach(([a, [a0, a1]], i) => {
      for (const [b, [b0, b1]] of list.slice(i + 1)) {
        const [x, y] = [plan.buffers[a]!, plan.buffers[b]!];
        const apart =
          x.offset! + elements(x.shape) * dtypeBytes[x.dtype] <= y.offset! ||
          y.offset! + elements(y.shape) * dtypeBytes[y.dtype] <= x.offset!;
        const handedOver = (a1 === b0 || b1 === a0) && x.offset === y.offset && x.dtype === y.dtype;
        if (!apart && a0 <= b1 && b0 <= a1 && !handedOver) overlapping.push(`${x.name} and ${y.name}`);
      }
    });
  }
  return overlapping;
}

describe('compileTraining', () => {
  test.each(models)(
    '%s: gradients are those of autodiff alone, summed over micro-batches',
    (_name, graph, adapters) => {
      const { compiled, tensors } = step({ graph, lora: adapters });
      const plain = compiled.graph.values.filter((v) => v.role === 'trained').map((v) => v.name);
      expect(compiled.trained).toEqual(plain);
      const feeds = feedsFor(compiled.graph);
      // The plan's own graph before any pass but LoRA and the loss: fusion, schedule and memory plan are not in it.
      const reference = autodiff(attachLoss(adapters ? withAdapters(graph, adapters) : graph, linearCe));
      const one = interpret(reference, feeds);
      const two = interpret(reference, { ...feeds, ids: feeds.ids!.toReversed() });
      const gradient = (run: typeof one, name: string) =>
        run[reference.values[reference.outputs[`grad:${name}`]!]!.name]!;
      for (const name of plain) {
        const sum = gradient(one, name).map((x, i) => x + gradient(two, name)[i]!);
        expect(difference(tensors[`grad:${name}`]!, sum)).toBeLessThan(1e-11);
      }
    },
  );

  test.each(['masked_ce', 'chunked_ce'] as const)('%s makes the step that linear_ce makes', (loss) => {
    expect(
      stepDifference(step({ graph: tinyDecoder(), loss: lossRule(loss) }), step({ graph: tinyDecoder() })),
    ).toBeLessThan(1e-11);
  });

  test.each(models)('%s: recomputation changes nothing but memory', (_name, graph, adapters) => {
    const plain = step({ graph, lora: adapters });
    const recomputed = step({ graph, lora: adapters, recompute: { mode: 'full' } });
    expect(recomputed.compiled.work.recompute).toBeGreaterThan(0);
    expect(stepDifference(plain, recomputed)).toBeLessThan(1e-11);
  });

  test.each(models)('%s: no two live buffers overlap, in bf16 as in f32', (_name, graph, adapters) => {
    for (const precision of ['f32', 'bf16'] as const) {
      for (const mode of ['none', 'full'] as const) {
        const { plan, memory } = compileTraining({
          graph,
          lora: adapters,
          loss: linearCe,
          optimizer: adamw,
          precision,
          recompute: { mode },
        });
        expect(overlaps(plan)).toEqual([]);
        expect(plan.arenaBytes).toBeGreaterThanOrEqual(memory.arenaLowerBound);
        expect(plan.buffers.every((b) => b.offset === null || b.offset % 64 === 0)).toBe(true);
      }
    }
  });

  test.each(models)('%s: random legal orders give the same bits', (_name, graph, adapters) => {
    const compiled = compileTraining({
      graph,
      lora: adapters,
      loss: linearCe,
      optimizer: adamw,
      precision: 'bf16',
    });
    const first = runStep(compiled.plan, compiled, true);
    for (const seed of [1, 2, 3]) {
      const shuffled = assemblePlan(randomOrder(compiled.graph, seed)).plan;
      expect(shuffled.digest).not.toBe(compiled.plan.digest);
      expect(stepDifference(first, runStep(shuffled, compiled, true))).toBe(0);
    }
  });

  test('in place or not, the values are the same', () => {
    const compiled = compileTraining({ graph: tinyDecoder(), optimizer: adamw, loss: lossRule('masked_ce') });
    const separate = assemblePlan(compiled.graph, { inPlace: false }).plan;
    expect(separate.digest).not.toBe(compiled.plan.digest);
    expect(stepDifference(runStep(separate, compiled), runStep(compiled.plan, compiled))).toBe(0);
  });

  test('compiles to the same plan each time, with a digest of its content', () => {
    const one = compileTraining({ graph: tinyDecoder(), loss: linearCe, optimizer: adamw }).plan;
    expect(compileTraining({ graph: tinyDecoder(), loss: linearCe, optimizer: adamw }).plan).toEqual(one);
    expect(planDigest(JSON.parse(JSON.stringify(one)))).toBe(one.digest);
    expect(planDigest({ ...one, arenaBytes: 0 })).not.toBe(one.digest);
  });

  test('LoRA: the base has no gradient and no moments, and nothing flows below the lowest adapter', () => {
    const { tensors, plan } = compileTraining({
      graph: tinyDecoder(),
      loss: linearCe,
      optimizer: adamw,
      lora,
    });
    for (const { name, role } of tensors) {
      if (role === 'frozen') expect(name).not.toMatch(/lora/);
      if (role === 'gradient' || role === 'optimizer') expect(name).toMatch(/lora_[AB]\.weight$/);
    }
    const ops = plan.records.map((record) => record.op);
    expect(ops.filter((op) => op === 'rmsnorm_grad')).toHaveLength(4);
    expect(ops).not.toContain('embedding_grad');
  });

  test('the work of a micro-batch is that of its packs, since documents do not cross them', () => {
    const work = (packs: number) =>
      compileTraining({ graph: tinyDecoder({ T: 8 * packs, P: 8 }), loss: linearCe, optimizer: adamw }).work;
    expect(work(3).forward).toBe(3 * work(1).forward);
    expect(work(3).backward).toBe(3 * work(1).backward);
    // A document that may be as long as all of them takes more.
    const whole = compileTraining({ graph: tinyDecoder({ T: 24 }), loss: linearCe, optimizer: adamw }).work;
    expect(whole.forward).toBeGreaterThan(work(3).forward);
  });

  test('auto recomputes no more than the budget asks for', () => {
    const graph = tinyDecoder({ layers: 6 });
    const arena = (recompute: TrainingOptions['recompute']) =>
      compileTraining({ graph, loss: linearCe, optimizer: adamw, ...(recompute && { recompute }) });
    const none = arena({ mode: 'none' });
    const full = arena({ mode: 'full' });
    expect(full.memory.arena).toBeLessThan(none.memory.arena);
    const budget = Math.round((none.memory.arena + full.memory.arena) / 2);
    const auto = arena({ mode: 'auto', arenaBudget: () => budget });
    expect(auto.memory.arena).toBeLessThanOrEqual(budget);
    expect(auto.work.recompute).toBeLessThan(full.work.recompute);
    expect(arena({ mode: 'auto', arenaBudget: () => none.memory.arena }).work.recompute).toBe(0);
    expect(() => arena({ mode: 'auto', arenaBudget: () => 64 })).toThrow(ArenaTooLarge);
  });

  test('bf16 keeps the residual stream, masters and gradients in float32', () => {
    const { plan } = compileTraining({
      graph: tinyDecoder({ dtype: 'bf16' }),
      loss: linearCe,
      optimizer: adamw,
      precision: 'bf16',
    });
    const dtype = (name: string) => plan.buffers.find((buffer) => buffer.name === name)?.dtype;
    expect(dtype('layers.0.attn_out')).toBe('f32');
    expect(dtype('layers.0.q')).toBe('bf16');
    expect(dtype('model.norm.weight')).toBe('f32');
    expect(dtype('grad:model.norm.weight')).toBe('f32');
    expect(plan.records.filter((r) => r.op === 'matmul').every((r) => r.attrs.compute === 'bf16')).toBe(true);
  });

  test('bf16 stays near f32', () => {
    const exact = step({ graph: tinyDecoder() });
    const rounded = step({ graph: tinyDecoder(), precision: 'bf16' }, true);
    expect(difference(rounded.outputs.norm!, exact.outputs.norm!)).toBeLessThan(2 ** -6);
    expect(difference(rounded.outputs.loss!, exact.outputs.loss!)).toBeLessThan(2 ** -8);
  });

  test('prints one line a record, and one a segment', () => {
    const { plan } = compileTraining({ graph: tinyDecoder(), loss: linearCe, optimizer: adamw });
    expect(printPlan(plan).trimEnd().split('\n')).toHaveLength(
      2 + plan.segments.length + plan.records.length,
    );
  });
});

describe('evaluation plans', () => {
  test('validation gives the loss of training without dropout', () => {
    const graph = tinyDecoder();
    const { plan, tensors, graph: compiled } = compileValidation({ loss: linearCe, graph, lora });
    const feeds = feedsFor(compiled);
    const engine = new PlanInterpreter(
      plan,
      Object.fromEntries(tensors.map(({ name }) => [name, feeds[name]!])),
    );
    const { loss } = engine.run('micro', feeds, { first: true });
    const reference = compileTraining({
      graph,
      lora: { ...lora, dropout: 0 },
      loss: linearCe,
      optimizer: adamw,
    });
    const trained = new PlanInterpreter(reference.plan, tensorsFor(reference));
    Object.assign(trained.tensors, Object.fromEntries(tensors.map(({ name }) => [name, feeds[name]!])));
    trained.run('micro', feeds, { first: true });
    expect(difference(loss!, trained.tensors['stat:loss']!)).toBeLessThan(1e-12);
  });

  test('scoring gives log-probabilities that sum to the loss', () => {
    const graph = tinyDecoder();
    const scoring = compileScoring({ graph });
    const validation = compileValidation({ loss: linearCe, graph });
    const feeds = feedsFor(validation.graph);
    feeds.targets = feeds.labels!;
    const run = (compiled: typeof scoring, program: string) =>
      new PlanInterpreter(
        compiled.plan,
        Object.fromEntries(compiled.tensors.map(({ name }) => [name, feeds[name]!])),
      ).run(program, feeds, { first: true });
    const logprobs = run(scoring, 'score').logprobs!;
    const sum = logprobs.reduce((a, b) => a + b, 0);
    expect(-sum * feeds.weight![0]!).toBeCloseTo(run(validation, 'micro').loss![0]!, 10);
    expect(Array.from(logprobs).filter((x) => x === 0)).toHaveLength(2);
  });
});
