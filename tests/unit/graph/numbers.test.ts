import { opOf, PlanInterpreter, philox, roundTo } from '../../../graph/index.js';
import { compileInit } from './checked.js';

describe('philox', () => {
  // Known answers of the Random123 distribution, kat_vectors, philox4x32 with 10 rounds.
  test.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)('counter %j', (counter, key, expected) => {
    expect(philox([...counter], key)).toEqual(expected);
  });
});

describe('rounding', () => {
  test('bf16 rounds to nearest, ties to even', () => {
    expect(roundTo(1 + 2 ** -8, 'bf16')).toBe(1);
    expect(roundTo(1 + 3 * 2 ** -8, 'bf16')).toBe(1 + 2 ** -6);
    expect(roundTo(1 + 2 ** -8 + 2 ** -20, 'bf16')).toBe(1 + 2 ** -7);
    expect(roundTo(Number.NaN, 'bf16')).toBeNaN();
    expect(roundTo(-Infinity, 'bf16')).toBe(-Infinity);
  });

  test('f16 has ten bits of fraction, subnormals, and overflows past 65504', () => {
    expect(roundTo(1 + 2 ** -11, 'f16')).toBe(1);
    expect(roundTo(1 + 3 * 2 ** -11, 'f16')).toBe(1 + 2 ** -9);
    expect(roundTo(2 ** -24, 'f16')).toBe(2 ** -24);
    expect(roundTo(2 ** -26, 'f16')).toBe(0);
    expect(roundTo(65504, 'f16')).toBe(65504);
    expect(roundTo(70000, 'f16')).toBe(Infinity);
  });
});

describe('initial values', () => {
  const fill = (seed: number) => {
    const plan = compileInit(
      [
        { name: 'u', shape: [100, 41], kind: 'uniform', bound: 0.5, site: 0 },
        { name: 'n', shape: [4099], kind: 'normal', std: 2, site: 1 },
        { name: 'z', shape: [3], kind: 'value', value: 0.25 },
      ],
      seed,
    );
    const tensors = { u: new Float64Array(4100), n: new Float64Array(4099), z: new Float64Array(3) };
    const engine = new PlanInterpreter(plan, tensors);
    engine.run('init', {}, { first: true });
    return tensors;
  };
  const mean = (x: Float64Array) => x.reduce((a, b) => a + b, 0) / x.length;
  const variance = (x: Float64Array) => mean(x.map((v) => v * v));

  test('uniform fills [−bound, bound) evenly', () => {
    const { u } = fill(1);
    expect(Math.max(...u)).toBeLessThan(0.5);
    expect(Math.min(...u)).toBeGreaterThanOrEqual(-0.5);
    expect(variance(u)).toBeCloseTo(1 / 12, 2);
  });

  test('normal has the stated deviation', () => {
    const { n } = fill(1);
    expect(Math.abs(mean(n))).toBeLessThan(0.1);
    expect(Math.sqrt(variance(n))).toBeCloseTo(2, 1);
  });

  test('the same seed gives the same values, another seed others', () => {
    expect(fill(7)).toEqual(fill(7));
    expect(fill(7).u).not.toEqual(fill(8).u);
    expect(fill(2 ** 33).u).not.toEqual(fill(0).u);
  });
});

describe('optimizers', () => {
  const vector = (...data: number[]) => ({ shape: [data.length], data: Float64Array.from(data) });
  const run = (op: string, attrs: Record<string, number | boolean>, inputs: ReturnType<typeof vector>[]) =>
    opOf(op).evaluate(inputs, attrs, [], { roundFactors: false });

  test('AdamW’s first step moves each element by the learning rate, after decay', () => {
    const scalars = vector(0.1, 0.9, 0.999, 0, 0.1, 0.001);
    const zero = vector(0, 0);
    const [p] = run('adamw', { weight_decay: 0.5 }, [
      vector(1, -2),
      vector(3, -4),
      vector(5),
      vector(0),
      scalars,
      zero,
      zero,
    ]);
    expect(p![0]).toBeCloseTo(1 - 0.1 * 0.5 * 1 - 0.1, 12);
    expect(p![1]).toBeCloseTo(-2 + 0.1 * 0.5 * 2 + 0.1, 12);
  });

  test('clipping scales the gradient to the largest norm', () => {
    const [p] = run('sgd', { weight_decay: 0, momentum: false }, [
      vector(0, 0),
      vector(3, 4),
      vector(5),
      vector(1),
      vector(1, 0, 0),
    ]);
    expect(p![0]).toBeCloseTo(-0.6, 6);
    expect(p![1]).toBeCloseTo(-0.8, 6);
  });

  test('SGD’s momentum starts as the gradient and then decays', () => {
    const at = (step: number) => vector(1, 0.9, step === 1 ? 1 : 0);
    const attrs = { weight_decay: 0, momentum: true };
    const first = run('sgd', attrs, [vector(0), vector(2), vector(2), vector(0), at(1), vector(99)]);
    expect([first[0]![0], first[1]![0]]).toEqual([-2, 2]);
    const second = run('sgd', attrs, [vector(-2), vector(1), vector(1), vector(0), at(2), vector(2)]);
    expect(second[1]![0]).toBeCloseTo(2.8, 12);
    expect(second[0]![0]).toBeCloseTo(-4.8, 12);
  });
});
