/** Uploads, downloads and snapshots of compiled plans: they run while other runs compute, and change no number. */
import { lossRule } from '../../../components/loss/index.js';
import type { CompiledTraining, Plan, Tensors } from '../../../graph/index.js';
import { type ExecutionOrder, elements, PlanInterpreter, planDigest, streams } from '../../../graph/index.js';
import { checkPlan } from '../../../graph/passes/check_plan.js';
import { compileCast, compileScoring, compileTraining, programRecords } from './checked.js';
import { feedsFor, tinyDecoder } from './tiny_decoder.js';

const lora = {
  rank: 3,
  alpha: 6,
  rslora: false,
  dropout: 0.25,
  matches: (module: string) => module.endsWith('q_proj'),
};
const methods = { full: null, LoRA: lora } as const;

const compile = (method: keyof typeof methods): CompiledTraining =>
  compileTraining({
    graph: tinyDecoder({ layers: 1 }),
    lora: methods[method],
    loss: lossRule('linear_ce'),
    optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0.1 },
  });
const compiled = { full: compile('full'), LoRA: compile('LoRA') };

/** Steps with a snapshot after the first: outputs, what was saved, and the tensors in the end. */
function train(
  { graph, tensors, plan: own }: CompiledTraining,
  order: ExecutionOrder,
  options: { plan?: Plan; micros?: number; steps?: number } = {},
) {
  const { plan = own, micros = 2, steps = 2 } = options;
  const feeds = feedsFor(graph);
  const memory: Tensors = Object.fromEntries(
    tensors.map(({ name, shape }) => [name, feeds[name]?.slice() ?? new Float64Array(elements(shape))]),
  );
  const engine = new PlanInterpreter(plan, memory, { order });
  const rotated = (by: number) => ({
    ...feeds,
    ids: feeds.ids!.map((_, i, ids) => ids[(i + by) % ids.length]!),
  });
  const step = (number: number) => {
    for (let i = 0; i < micros; i++)
      engine.queue('micro', rotated(2 * number + i), { first: i === 0, last: i === micros - 1 });
    const norm = engine.queue('norm', {}, { first: false });
    engine.queue('update', { ...feeds, max_norm: [0.5 + number] }, { first: false });
    return norm;
  };
  const outputs = [step(0)];
  const snapshot = engine.queue('snapshot', {}, { first: false });
  while (outputs.length < steps) outputs.push(step(outputs.length));
  engine.finish();
  return { outputs, snapshot, memory };
}

const orders: ExecutionOrder[] = ['lazy', { seed: 1 }, { seed: 2 }, { seed: 3 }];

describe.each(['full', 'LoRA'] as const)('%s', (method) => {
  const inOrder = train(compiled[method], 'list');

  test.each(orders)('two steps compute the same in the order %j', (order) => {
    expect(train(compiled[method], order)).toEqual(inOrder);
  });

  test('the snapshot is of the moment between the steps, and has what a checkpoint holds', () => {
    const { tensors } = compiled[method];
    const saved = tensors
      .filter(({ role }) => role === 'trained' || role === 'optimizer')
      .map(({ name }) => name);
    expect(Object.keys(inOrder.snapshot)).toEqual(saved);
    const { memory } = train(compiled[method], 'list', { steps: 1 });
    for (const name of saved) {
      expect(inOrder.snapshot[name]).toEqual(memory[name]);
      expect(inOrder.snapshot[name]).not.toEqual(inOrder.memory[name]);
    }
  });
});

/** The plan in which no record waits for `event`. */
function withoutWaits(plan: Plan, event: string): Plan {
  const index = plan.events.indexOf(event);
  const records = plan.records.map((record) => ({
    ...record,
    waits: record.waits.filter((e) => e !== index),
  }));
  return { ...plan, records };
}

test('the events of a training plan', () => {
  expect(compiled.full.plan.events).toEqual([
    'micro.uploaded',
    'micro.staged_free',
    'norm.computed',
    'norm.downloaded',
    'update.uploaded',
    'update.staged_free',
    'update.done',
    'snapshot.taken',
  ]);
});

test.each(compiled.full.plan.events)(
  "without waiting for '%s' it races, and some order gives other numbers",
  (event) => {
    const plan = withoutWaits(compiled.full.plan, event);
    expect(() => checkPlan(plan)).toThrow(/both touch .*, one of them writing, and nothing orders them/);
    const differs = [1, 2].flatMap((micros) => {
      const inOrder = JSON.stringify(train(compiled.full, 'list', { micros }));
      return orders.map((order) => JSON.stringify(train(compiled.full, order, { plan, micros })) !== inOrder);
    });
    expect(differs).toContain(true);
  },
);

test.each(['micro.uploaded', 'update.uploaded', 'snapshot.taken'])(
  "without waiting for '%s' a lazy execution gives other numbers",
  (event) => {
    const lazy = train(compiled.full, 'lazy', { plan: withoutWaits(compiled.full.plan, event) });
    expect(JSON.stringify(lazy) === JSON.stringify(train(compiled.full, 'list'))).toBe(false);
  },
);

test('records read input slots and write output slots by transfers alone, each on its stream', () => {
  for (const plan of [compiled.full.plan, compileScoring({ graph: tinyDecoder() }).plan]) {
    for (const { op, inputs, outputs, stream, phase, scope } of plan.records) {
      const spaces = (groups: typeof inputs) =>
        new Set(
          Object.values(groups)
            .flat()
            .map((i) => plan.buffers[i]!.space),
        );
      expect(spaces(inputs).has('input')).toBe(op === 'upload');
      expect(spaces(outputs).has('output')).toBe(op === 'download');
      expect(stream).toBe(
        op === 'upload' ? streams.upload : op === 'download' ? streams.download : streams.compute,
      );
      if (['upload', 'copy', 'download'].includes(op)) expect([phase, scope]).toEqual(['copy', '']);
    }
  }
});

test('nothing else touches the ranges of staged values', () => {
  const { buffers, arenaBytes } = compiled.full.plan;
  const inArena = buffers.filter(({ space }) => space === 'arena');
  const staged = inArena.filter(({ name }) => name.endsWith('.staged'));
  const others = inArena.filter(({ name }) => !name.endsWith('.staged'));
  const end = ({ offset, shape }: (typeof buffers)[number]) => offset! + 4 * elements(shape);
  expect(Math.max(...others.map(end))).toBeLessThanOrEqual(Math.min(...staged.map(({ offset }) => offset!)));
  expect(new Set(staged.map(({ offset }) => offset)).size).toBe(staged.length);
  expect(Math.max(...staged.map(end))).toBeLessThanOrEqual(arenaBytes);
});

test('a training plan says in which order its programs are queued, others do not', () => {
  expect(compiled.full.plan.step).toEqual([
    { program: 'micro', repeat: true, optional: false },
    { program: 'norm', repeat: false, optional: false },
    { program: 'update', repeat: false, optional: true },
    { program: 'snapshot', repeat: false, optional: true },
  ]);
  expect(compileScoring({ graph: tinyDecoder() }).plan.step).toEqual([]);
});

test('a record knows its phase and its layer', () => {
  const records = programRecords(compiled.full.plan, 'micro');
  expect(new Set(records.map(({ phase }) => phase))).toEqual(new Set(['copy', 'forward', 'backward']));
  expect(new Set(records.map(({ scope }) => scope))).toEqual(new Set(['', 'layers.0']));
});

test('casts between tensors of the context need no transfer', () => {
  const plan = compileCast([
    { from: { name: 'half', dtype: 'bf16' }, to: { name: 'master', dtype: 'f32' }, shape: [2, 3] },
  ]);
  const tensors = { half: Float64Array.of(1, 2, 3, 4, 5, 6), master: new Float64Array(6) };
  new PlanInterpreter(plan, tensors).run('cast', {}, { first: true });
  expect(tensors.master).toEqual(tensors.half);
  expect(plan.records.map(({ op }) => op)).toEqual(['cast']);
});

test('the digest is of everything in a plan', () => {
  const { plan } = compiled.full;
  const { digest: _, buffers, records, segments, programs, step, ...rest } = plan;
  const withChanges = <T extends object>(object: T): T[] =>
    Object.keys(object).map((key) => ({ ...object, [key]: 'changed' }));
  const withGroups = (record: Plan['records'][number]) =>
    withChanges(record).map((changed) => ({
      ...changed,
      inputs: changed.inputs === record.inputs ? record.inputs : { x: [99] },
      outputs: changed.outputs === record.outputs ? record.outputs : { y: [99] },
    }));
  const changed: Plan[] = [
    ...withChanges(rest).map((fields) => ({ ...plan, ...fields })),
    ...withChanges(buffers[0]!).map((first) => ({ ...plan, buffers: [first, ...buffers.slice(1)] })),
    ...withGroups(records[0]!).map((first) => ({ ...plan, records: [first, ...records.slice(1)] })),
    ...withChanges(segments[0]!).map((first) => ({ ...plan, segments: [first, ...segments.slice(1)] })),
    ...withChanges(step[0]!).map((first) => ({ ...plan, step: [first, ...step.slice(1)] })),
    { ...plan, programs: { ...programs, norm: [0, 1] } },
  ];
  expect(new Set([plan, ...changed].map(planDigest)).size).toBe(1 + changed.length);
});
