import { type ExecutionOrder, opOf, type Plan, PlanInterpreter, roundTo } from '../../../graph/index.js';
import { flattenOperands, groupOperands, recordOperands } from '../../../graph/ops/operands.js';
import { checkPlan } from '../../../graph/passes/check_plan.js';
import { textPlan } from './text_plan.js';

/**
 * A step in small: micro uploads x and adds 2·x to a gradient, update subtracts the gradient from the weight, and snapshot
 * copies the weight to the host while the next micro runs.
 */
const trainingStep = (left: { out?: string } = {}): Plan => {
  const waits = (...events: string[]) => events.filter((event) => event !== left.out);
  return textPlan(
    [
      'x: f32[4]@input',
      'xd: f32[4]@arena+0',
      'y: f32[4]@arena+64',
      'g: f32[4]@tensor',
      'n: f32[4]@arena+128',
      'w: f32[4]@tensor',
      'saved: f32[4]@output',
    ],
    {
      micro: [
        {
          records: [
            {
              op: 'upload',
              inputs: { x: ['x'] },
              outputs: { y: ['xd'] },
              stream: 'upload',
              waits: waits('x read'),
              signals: ['x there'],
            },
            {
              op: 'scale',
              inputs: { x: ['xd'] },
              outputs: { y: ['y'] },
              attrs: { alpha: 2 },
              waits: waits('x there'),
              signals: ['x read'],
            },
            { op: 'fill', inputs: {}, outputs: { y: ['g'] }, attrs: { value: 0, axes: '4' }, when: 'first' },
            { op: 'add', inputs: { a: ['g'], b: ['y'] }, outputs: { y: ['g'] } },
          ],
        },
      ],
      update: [
        {
          records: [
            { op: 'scale', inputs: { x: ['g'] }, outputs: { y: ['n'] }, attrs: { alpha: -1 } },
            {
              op: 'add',
              inputs: { a: ['w'], b: ['n'] },
              outputs: { y: ['w'] },
              waits: waits('saved'),
              signals: ['updated'],
            },
          ],
        },
      ],
      snapshot: [
        {
          records: [
            {
              op: 'download',
              inputs: { x: ['w'] },
              outputs: { y: ['saved'] },
              stream: 'download',
              waits: waits('updated'),
              signals: ['saved'],
            },
          ],
        },
      ],
    },
    {
      step: [
        { program: 'micro', repeat: true, optional: false },
        { program: 'update', repeat: false, optional: false },
        { program: 'snapshot', repeat: false, optional: true },
      ],
    },
  );
};

/** Two steps of two micro-batches; returns what was saved after the first, and the weight in the end. */
function train(plan: Plan, order: ExecutionOrder) {
  const tensors = { g: Float64Array.of(7, 7, 7, 7), w: Float64Array.of(1, 2, 3, 4) };
  const engine = new PlanInterpreter(plan, tensors, { order });
  const step = (k: number) => {
    engine.queue('micro', { x: [k, k, k, k] }, { first: true, last: false });
    engine.queue('micro', { x: [0, k, 0, k] }, { first: false, last: true });
    engine.queue('update', {}, { first: false });
  };
  step(1);
  const snapshot = engine.queue('snapshot', {}, { first: false });
  step(10);
  engine.finish();
  return { saved: [...snapshot.saved!], w: [...tensors.w] };
}

const trained = { saved: [-1, -2, 1, 0], w: [-21, -42, -19, -40] };
const orders: ExecutionOrder[] = ['list', 'lazy', ...Array.from({ length: 20 }, (_, seed) => ({ seed }))];

test.each(orders)('a step computes the same in the order %j', (order) => {
  expect(train(trainingStep(), order)).toEqual(trained);
});

test('a plan whose streams wait for each other is free of races', () => {
  expect(() => checkPlan(trainingStep())).not.toThrow();
});

test.each([
  ['x there', /upload.*scale.*'xd'|scale.*upload.*'xd'/],
  ['x read', /'xd'/],
  ['updated', /'w'/],
  ['saved', /'w'/],
])("without waiting for '%s' the race is named", (out, message) => {
  expect(() => checkPlan(trainingStep({ out }))).toThrow(message);
});

test.each(['x there', 'x read', 'saved'])(
  "without waiting for '%s' some order gives other numbers",
  (out) => {
    const plan = trainingStep({ out });
    const results = orders.map((order) => JSON.stringify(train(plan, order)));
    expect(results.some((result) => result !== JSON.stringify(trained))).toBe(true);
  },
);

test('reading arena bytes that the run has not written is refused, and gives NaN', () => {
  const plan = textPlan(['a: f32[2]@arena+0', 'y: f32[2]@output'], {
    go: [{ records: [{ op: 'download', inputs: { x: ['a'] }, outputs: { y: ['y'] } }] }],
  });
  expect(() => checkPlan(plan)).toThrow(/reads a, which nothing in its run has written/);
  expect([...new PlanInterpreter(plan, {}).run('go', {}, { first: true }).y!]).toEqual([
    Number.NaN,
    Number.NaN,
  ]);
});

test('two buffers at the same bytes race although their names differ', () => {
  const plan = textPlan(['a: f32[2]@arena+0', 'b: bf16[2]@arena+4', 'y: f32[2]@output'], {
    go: [
      {
        records: [
          { op: 'fill', inputs: {}, outputs: { y: ['a'] }, attrs: { value: 1, axes: '2' } },
          { op: 'fill', inputs: {}, outputs: { y: ['b'] }, attrs: { value: 2, axes: '2' }, stream: 'upload' },
          { op: 'download', inputs: { x: ['a'] }, outputs: { y: ['y'] } },
        ],
      },
    ],
  });
  expect(() => checkPlan(plan)).toThrow(/'a' and 'b' \(the same bytes\)/);
});

test('a window of rows is its base’s memory', () => {
  const plan = textPlan(['t: f32[3,2]@tensor', 'row: f32[1,2]@t[1]', 'y: f32[1,2]@output'], {
    go: [
      {
        records: [
          { op: 'scale', inputs: { x: ['row'] }, outputs: { y: ['row'] }, attrs: { alpha: 10 } },
          { op: 'download', inputs: { x: ['row'] }, outputs: { y: ['y'] } },
        ],
      },
    ],
  });
  const tensors = { t: Float64Array.of(1, 2, 3, 4, 5, 6) };
  const { y } = new PlanInterpreter(plan, tensors).run('go', {}, { first: true });
  expect([...y!]).toEqual([30, 40]);
  expect([...tensors.t]).toEqual([1, 2, 30, 40, 5, 6]);
});

test('a segment with a loop runs as often as its slot says', () => {
  const plan = textPlan(['n: i32[1]@input', 't: f32[1]@tensor'], {
    go: [
      {
        loop: 'n',
        records: [{ op: 'scale', inputs: { x: ['t'] }, outputs: { y: ['t'] }, attrs: { alpha: 2 } }],
      },
    ],
  });
  const after = (n: number) => {
    const tensors = { t: Float64Array.of(1) };
    new PlanInterpreter(plan, tensors).run('go', { n: [n] }, { first: true });
    return tensors.t[0];
  };
  expect([after(0), after(1), after(5)]).toEqual([1, 2, 32]);
  expect(() => after(9)).toThrow(/the loop count 'n' is 9, should be a whole number from 0 to 8/);
});

test('buffers of one byte lie in the arena one element a byte', () => {
  const plan = textPlan(
    ['a: f8e4m3[4]@arena+0', 'b: u8[4]@arena+4', 'y: f8e4m3[4]@output', 'z: u8[4]@output'],
    {
      go: [
        {
          records: [
            { op: 'fill', inputs: {}, outputs: { y: ['a'] }, attrs: { value: 0.3, axes: '4' } },
            { op: 'fill', inputs: {}, outputs: { y: ['b'] }, attrs: { value: 7, axes: '4' } },
            { op: 'download', inputs: { x: ['a', 'b'] }, outputs: { y: ['y', 'z'] } },
          ],
        },
      ],
    },
  );
  const { y, z } = new PlanInterpreter(plan, {}, { rounding: true }).run('go', {}, { first: true });
  expect([...y!]).toEqual(new Array(4).fill(0.3125));
  expect([...z!]).toEqual([7, 7, 7, 7]);
});

test.each([
  ['f8e4m3', 0.3, 0.3125],
  ['f8e4m3', 448, 448],
  ['f8e4m3', 470, Number.NaN],
  ['f8e4m3', 2 ** -9, 2 ** -9],
  ['f8e4m3', 2 ** -11, 0],
  ['f8e5m2', 57344, 57344],
  ['f8e5m2', 65536, Number.POSITIVE_INFINITY],
  ['f16', 65520, Number.POSITIVE_INFINITY],
] as const)('%s keeps %f as %f', (dtype, value, kept) => {
  expect(roundTo(value, dtype)).toBe(kept);
});

test('flat operands come apart into groups and together again', () => {
  const { inputs } = recordOperands(opOf('matmul'), { bias: true, residual: false });
  const groups = groupOperands('matmul', inputs, [1, 2, 3, 4, 5]);
  expect(groups).toEqual({ a: [1, 3], b: [2, 4], bias: [5] });
  expect(flattenOperands('matmul', inputs, groups)).toEqual([1, 2, 3, 4, 5]);
});

test('operands that an op does not take are refused by name', () => {
  const { inputs } = recordOperands(opOf('rmsnorm'), {});
  expect(() => flattenOperands('rmsnorm', inputs, { x: [0], w: [1], softcap: [2] })).toThrow(
    /rmsnorm takes x, w, not 'softcap'/,
  );
  expect(() => flattenOperands('rmsnorm', inputs, { x: [0] })).toThrow(/'w' is one operand, not 0/);
  expect(() => groupOperands('rmsnorm', inputs, [0, 1, 2])).toThrow(/not 3 operands/);
});
