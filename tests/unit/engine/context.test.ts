import { setImmediate as turn } from 'node:timers/promises';
import {
  createContext,
  EngineAborted,
  type EngineContext,
  engineCapabilities,
  planTarget,
} from '../../../engine/index.js';
import { planOps } from '../../../graph/index.js';
import { EngineError, OutOfMemoryError } from '../../../shared/errors.js';
import { snapshotPlan, tinyPlan } from './tiny_plans.js';

const openContexts: EngineContext[] = [];
function createTestContext(options: Parameters<typeof createContext>[0] = {}): EngineContext {
  const context = createContext({ threads: 2, ...options });
  openContexts.push(context);
  return context;
}
afterEach(() => {
  for (const context of openContexts.splice(0)) context.close();
});

const addTo = tinyPlan(
  ['w: f32[3]@tensor', 'x: f32[3]@input', 'y: f32[3]@output'],
  [['add', ['w', 'x'], ['y']]],
);

/** Returns a plan of many records of some 100 µs each. */
function longPlan(records: number) {
  return tinyPlan(
    ['a: f32[262144]@arena+0'],
    Array.from({ length: records }, () => ['fill', [], ['a'], { value: 1 }]),
    { arenaBytes: 1 << 20, programs: { go: [0, records], one: [0, 1] } },
  );
}

test.each(engineCapabilities().isas)('the kernel set %s runs a plan', async (isa) => {
  const engine = createTestContext({ isa });
  engine.allocate('w', 'f32', [3]);
  engine.write('w', Float32Array.of(1, 2, 3));
  const { y } = await engine.load(addTo).run('go', { x: Float32Array.of(10, 20, 30) });
  expect(y).toEqual(Float32Array.of(11, 22, 33));
});

test('outputs have the array type of their dtype', async () => {
  const plan = tinyPlan(
    ['x: f32[2]@input', 'b: bf16[2]@output', 'n: i32[2]@output'],
    [
      ['cast', ['x'], ['b']],
      ['fill', [], ['n'], { value: 7 }],
    ],
  );
  const outputs = await createTestContext()
    .load(plan)
    .run('go', { x: Float32Array.of(1, -2) });
  expect(outputs).toEqual({ b: Uint16Array.of(0x3f80, 0xc000), n: Int32Array.of(7, 7) });
});

test('an input that is a view of a larger buffer is read at its own bytes', async () => {
  const engine = createTestContext();
  engine.allocate('w', 'f32', [3]);
  const { y } = await engine.load(addTo).run('go', { x: Float32Array.of(0, 1, 2, 3, 4).subarray(1, 4) });
  expect(y).toEqual(Float32Array.of(1, 2, 3));
});

test('inputs are copied before run returns', async () => {
  const engine = createTestContext();
  engine.allocate('w', 'f32', [3]);
  const x = Float32Array.of(1, 2, 3);
  const run = engine.load(addTo).run('go', { x });
  x.fill(9);
  expect((await run).y).toEqual(Float32Array.of(1, 2, 3));
});

test('runs of a context are executed in the order of their calls', async () => {
  const engine = createTestContext();
  engine.allocate('w', 'f32', [1]);
  const double = engine.load(
    tinyPlan(
      ['w: f32[1]@tensor', 'y: f32[1]@output'],
      [
        ['add', ['w', 'w'], ['w']],
        ['cast', ['w'], ['y']],
      ],
    ),
  );
  engine.write('w', Float32Array.of(1));
  const runs = await Promise.all(Array.from({ length: 10 }, () => double.run('go')));
  expect(runs.map(({ y }) => y![0])).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]);
});

test('tensors are written and read from any element', () => {
  const engine = createTestContext();
  engine.allocate('h', 'bf16', [2, 3]);
  engine.write('h', Uint16Array.of(7, 8), 2);
  engine.write('h', new Uint8Array([1, 2]), 5);
  expect(engine.read('h')).toEqual(Uint16Array.of(0, 0, 7, 8, 0, 0x0201));
  expect(engine.read('h', 2, 2)).toEqual(Uint16Array.of(7, 8));
  expect(engine.tensors.get('h')).toEqual({ dtype: 'bf16', shape: [2, 3] });
});

test('a snapshot holds the tensors as of its call', async () => {
  const engine = createTestContext();
  engine.allocate('w', 'f32', [3]);
  const plan = engine.load(snapshotPlan());
  const x = Float32Array.of(1, 2, 3);
  void plan.run('go', { x });
  const snapshot = plan.snapshot();
  await plan.run('go', { x });
  expect((await snapshot).tensors).toEqual(new Map([['w', Float32Array.of(1, 2, 3)]]));
  expect(engine.read('w')).toEqual(Float32Array.of(2, 4, 6));
});

test('a snapshot reuses the memory of one that was released', async () => {
  const engine = createTestContext();
  engine.allocate('w', 'f32', [3]);
  const plan = engine.load(snapshotPlan());
  const firstSnapshot = await plan.snapshot();
  const secondSnapshot = await plan.snapshot();
  expect(secondSnapshot.tensors.get('w')!.buffer).not.toBe(firstSnapshot.tensors.get('w')!.buffer);
  await expect(plan.snapshot()).rejects.toThrow('2 snapshots are in use: release one');
  firstSnapshot.release();
  engine.write('w', Float32Array.of(1, 2, 3));
  const thirdSnapshot = await plan.snapshot();
  expect(thirdSnapshot.tensors.get('w')!.buffer).toBe(firstSnapshot.tensors.get('w')!.buffer);
  expect(thirdSnapshot.tensors.get('w')).toEqual(Float32Array.of(1, 2, 3));
});

test('a snapshot that fails releases its memory', async () => {
  const engine = createTestContext();
  engine.allocate('w', 'f32', [3]);
  const plan = engine.load({ ...snapshotPlan(), programs: {} });
  for (let i = 0; i < 3; i++) await expect(plan.snapshot()).rejects.toThrow("has no program 'snapshot'");
});

test('the event loop keeps turning while a program runs', async () => {
  const engine = createTestContext();
  let isRunning = true;
  // So long that a loaded machine too gives the event loop its turns; it is ended from there.
  const run = engine
    .load(longPlan(5000))
    .run('go')
    .finally(() => {
      isRunning = false;
    });
  run.catch(() => undefined);
  let turns = 0;
  let maxRecords = 0;
  for (; isRunning && (turns <= 10 || maxRecords === 0); turns++) {
    await turn();
    maxRecords = engine.progress().records;
  }
  expect(turns).toBeGreaterThan(10);
  expect(maxRecords).toBeGreaterThan(0);
  engine.abort();
  await expect(run).rejects.toThrow(EngineAborted);
});

test('abort ends the current run and the queued ones, and no later run', async () => {
  const engine = createTestContext();
  const plan = engine.load(longPlan(5000));
  const ends = Promise.allSettled([plan.run('go'), plan.run('one'), plan.run('one')]);
  while (engine.progress().records === 0) await turn();
  engine.abort();
  for (const end of await ends) {
    expect(end).toMatchObject({ status: 'rejected', reason: expect.any(EngineAborted) });
  }
  expect(engine.progress().records).toBeLessThan(20_000);
  await expect(plan.run('one')).resolves.toEqual({});
});

test('progress counts records and runs, and gives the arena’s high-water mark', async () => {
  const engine = createTestContext();
  await engine.load(longPlan(3)).run('go');
  expect(engine.progress()).toEqual({ records: 3, runs: 1, arenaHighWater: 1 << 20 });
});

test('the profile counts each op while it is on', async () => {
  const engine = createTestContext();
  const plan = engine.load(longPlan(3));
  await plan.run('go');
  expect(engine.profileTimes()).toEqual([]);
  engine.profile(true);
  await plan.run('go');
  expect(engine.profileTimes()).toEqual([{ op: 'fill', runs: 3, seconds: expect.any(Number) }]);
  engine.profile(false);
  expect(engine.profileTimes()).toEqual([]);
});

test('two contexts work side by side', async () => {
  const engines = [createTestContext({ threads: 1 }), createTestContext({ threads: 2 })];
  const results = await Promise.all(
    engines.map((engine, i) => {
      engine.allocate('w', 'f32', [3]);
      return engine.load(addTo).run('go', { x: Float32Array.of(i, i, i) });
    }),
  );
  expect(results.map(({ y }) => y![0])).toEqual([0, 1]);
});

test('poison makes a read of unused arena memory visible as NaN', async () => {
  const engine = createTestContext();
  const plan = engine.load(
    tinyPlan(['a: f32[1]@arena+0', 'y: f32[1]@output'], [['cast', ['a'], ['y']]], { arenaBytes: 64 }),
  );
  expect((await plan.run('go')).y![0]).toBe(0);
  engine.poison(true);
  expect((await plan.run('go')).y![0]).toBeNaN();
});

test('a run with wrong inputs rejects, and names the input', async () => {
  const engine = createTestContext();
  engine.allocate('w', 'f32', [3]);
  const plan = engine.load(addTo);
  const x = Float32Array.of(1, 2, 3);
  await expect(plan.run('go')).rejects.toThrow("needs the input 'x'");
  await expect(plan.run('go', { x, z: x })).rejects.toThrow("has no input 'z'");
  await expect(plan.run('go', { x: x.subarray(1) })).rejects.toThrow(
    "the input 'x' is f32 [3], 12 bytes, but 8 were given",
  );
  await expect(plan.run('go', { x: Int32Array.of(1, 2, 3) })).rejects.toThrow(
    "the input 'x' is f32: expected a Float32Array",
  );
  await expect(plan.run('gone')).rejects.toThrow("has no program 'gone'; it has go");
  await expect(plan.run('gone')).rejects.toBeInstanceOf(EngineError);
});

test('a bad label rejects its micro-batch by plan, program, slot, index and value, and changes no tensor', async () => {
  const engine = createTestContext();
  engine.allocate('table', 'f32', [5, 4]);
  engine.allocate('sums', 'f32', [5, 4]);
  engine.allocate('loss', 'f32', [1]);
  engine.write(
    'table',
    Float32Array.from({ length: 20 }, (_, i) => i % 7),
  );
  const plan = engine.load(
    tinyPlan(
      [
        'table: f32[5,4]@tensor',
        'ids: i32[3]@input',
        'labels: i32[3]@input',
        'weight: f32[1]@input',
        'logits: f32[3,4]@arena+0',
        'sums: f32[5,4]@tensor',
        'loss: f32[1]@tensor',
      ],
      [
        ['embedding', ['table', 'ids'], ['logits']],
        ['embedding_grad', ['logits', 'ids'], ['sums'], { accumulate: 'always' }],
        ['cross_entropy', ['logits', 'labels', 'weight'], ['loss'], { grad: false, accumulate: 'always' }],
      ],
      { arenaBytes: 64, programs: { micro: [0, 3] } },
    ),
  );
  const weight = Float32Array.of(1);
  const ids = Int32Array.of(0, 4, 2);
  await plan.run('micro', { ids, labels: Int32Array.of(0, -100, 3), weight });
  const [loss, sums] = [engine.read('loss'), engine.read('sums')];
  await expect(plan.run('micro', { ids, labels: Int32Array.of(0, 4, 3), weight })).rejects.toThrow(
    "plan 'tiny' program 'micro': labels[1] is 4; for record 4 (cross_entropy, forward) it must lie in [0, 4) or be -100",
  );
  await expect(
    plan.run('micro', { ids: Int32Array.of(0, 4, 5), labels: Int32Array.of(0, 1, 3), weight }),
  ).rejects.toBeInstanceOf(EngineError);
  expect([engine.read('loss'), engine.read('sums')]).toEqual([loss, sums]);
  await plan.run('micro', { ids, labels: Int32Array.of(-100, -100, -100), weight });
  expect(engine.read('loss')).toEqual(loss);
});

test('a plan that does not fit its context is refused with its location', () => {
  const engine = createTestContext();
  expect(() => engine.load(addTo)).toThrow(
    "plan 'tiny' needs the tensor 'w' as f32 [3], but the context has none",
  );
  const planWithUnknownOp = tinyPlan([], [['conv9d', [], []]]);
  expect(() => engine.load(planWithUnknownOp)).toThrow(
    /record 0 \(conv9d, forward\): unknown op; known are fill, cast, add, scale/,
  );
  expect(() => engine.load({ ...addTo, version: 1 as 2 })).toThrow(
    'version 1 is not 2, which this engine runs',
  );
});

test('tensors that queued runs use cannot be read, written or freed', async () => {
  const engine = createTestContext();
  engine.allocate('w', 'f32', [262144]);
  const records = Array.from(
    { length: 200 },
    () => ['fill', [], ['w'], { value: 1 }] as [string, string[], string[], object],
  );
  const plan = engine.load(tinyPlan(['w: f32[262144]@tensor'], records as Parameters<typeof tinyPlan>[1]));
  // Enough that the last one is still queued if this thread loses its core in between.
  const runs = Array.from({ length: 50 }, () => plan.run('go'));
  expect(() => engine.read('w')).toThrow("the tensor 'w' is in use by what is queued: await it first");
  expect(() => engine.write('w', new Float32Array(1))).toThrow('is in use');
  expect(() => plan.unload()).toThrow('has runs queued');
  await Promise.all(runs);
  expect(() => engine.free('w')).toThrow("is used by plan 'tiny': unload it first");
  plan.unload();
  engine.free('w');
  expect(engine.tensors.size).toBe(0);
});

test('memory that the system refuses is an OutOfMemoryError', () => {
  expect(() => createTestContext().allocate('w', 'f32', [2 ** 30, 2 ** 14])).toThrow(OutOfMemoryError);
});

test('the shapes and names of tensors are checked', () => {
  const engine = createTestContext();
  expect(() => engine.allocate('', 'f32', [1])).toThrow('needs a name');
  expect(() => engine.allocate('w', 'f32', [0])).toThrow("the tensor 'w' cannot have the shape [0]");
  expect(() => engine.allocate('w', 'f32', [1.5])).toThrow(EngineError);
  expect(() => engine.read('w')).toThrow("there is no tensor 'w'");
});

test('a context with a kernel set or thread count that this machine does not support is refused', () => {
  expect(() => createContext({ isa: 'avx1024' })).toThrow(
    /does not support the kernel set 'avx1024'; it supports .*portable/,
  );
  expect(() => createContext({ threads: 0 })).toThrow('cannot have 0 threads');
});

test.each(engineCapabilities().isas)(
  'the kernel set %s computes every op of a plan, so that none is lowered',
  (isa) => {
    const { kernels, alignment } = planTarget({ device: 'cpu:0', isa });
    const moves = ['upload', 'copy', 'download'];
    expect([...kernels, ...moves].sort()).toEqual(planOps.map(({ name }) => name).sort());
    expect(alignment).toBe(64);
  },
);

test('TEMPER_ISA chooses a kernel set', () => {
  process.env.TEMPER_ISA = 'portable';
  try {
    expect(createTestContext().signature.isa).toBe('portable');
  } finally {
    delete process.env.TEMPER_ISA;
  }
  expect(createTestContext().signature.isa).toBe(engineCapabilities().isas[0]);
});

test('a closed context rejects queued runs and new calls, and can be closed again', async () => {
  const engine = createTestContext();
  const run = engine.load(longPlan(5000)).run('go');
  engine.close();
  engine.close();
  await expect(run).rejects.toBeInstanceOf(EngineAborted);
  expect(() => engine.allocate('w', 'f32', [1])).toThrow('the context is closed');
});
