/** The attributes, operands and in-place pairs of ops: one table in graph/ops, one in native/ops, both of them strict. */
import { lossRule } from '../../../components/loss/index.js';
import { createContext, engineOps } from '../../../engine/index.js';
import type { Attrs, Op } from '../../../graph/index.js';
import { GraphBuilder, GraphError, opOf, planOps } from '../../../graph/index.js';
import { type AttributeTypes, checkAttributes } from '../../../graph/ops/op.js';
import { checkGraph } from '../../../graph/ops/types.js';
import { tinyPlan } from '../engine/tiny_plans.js';
import { compileTraining } from './checked.js';
import { tinyDecoder } from './tiny_decoder.js';

const example = {
  number: 0.5,
  integer: 2,
  flag: false,
  text: 'never',
  numbers: [1],
  flags: [false],
} as const;

const exampleOf = (types: AttributeTypes): Record<string, Attrs[string]> =>
  Object.fromEntries(
    Object.entries(types).map(([key, type]) => {
      const value = example[type];
      return [key, Array.isArray(value) ? [...value] : value] as [string, Attrs[string]];
    }),
  );

/** The attributes of a record. */
const exampleAttrs = (op: Op) => exampleOf(op.attributes);

test('the engine has the compiler’s ops, with the same attributes, operands and in-place pairs', () => {
  const table = planOps.map(({ name, operands, attributes, inPlace }) => ({
    name,
    attributes,
    inPlace: inPlace ?? [],
    ...operands,
  }));
  expect(engineOps()).toEqual(table);
});

describe.each(planOps.map((op) => [op.name, op] as const))('%s', (_name, op) => {
  test('refuses an attribute that it does not know', () => {
    const attrs = { ...exampleAttrs(op), ...exampleOf(op.shapeAttributes ?? {}) };
    checkAttributes(op, attrs);
    expect(() => checkAttributes(op, { ...attrs, no_such_attribute: 2 })).toThrow(
      `${op.name}: unknown attribute 'no_such_attribute'`,
    );
  });

  test('is refused by the engine with one', () => {
    const context = createContext({ threads: 1 });
    try {
      const plan = tinyPlan([], [[op.name, [], [], { ...exampleAttrs(op), window: 2 }]]);
      expect(() => context.load(plan)).toThrow(
        `plan 'tiny' record 0 (${op.name}, forward): unknown attribute 'window'`,
      );
    } finally {
      context.close();
    }
  });
});

test('an integer refuses a fraction, here and in the engine', () => {
  const attrs = { ...exampleAttrs(opOf('rope')), head_dim: 1.9 };
  expect(() => checkAttributes(opOf('rope'), attrs)).toThrow(
    "rope: the attribute 'head_dim' is 1.9, which is not of type integer",
  );
  const context = createContext({ threads: 1 });
  expect(() => context.load(tinyPlan([], [['rope', [], [], attrs]]))).toThrow(
    "record 0 (rope, forward): the attribute 'head_dim' is not of type integer",
  );
  context.close();
});

test('neither the builder nor the compiler takes an attribute that an op does not have', () => {
  const g = new GraphBuilder('strict', { T: 4, D: 2 });
  const x = g.input('x', 'f32', 'T D');
  expect(() => g.emit('scale', [x], { alpha: 2, softcap: 30 })).toThrow(GraphError);
  g.scale('y', x, 2);
  const graph = g.build();
  const nodes = graph.nodes.map((node) => ({ ...node, attrs: { ...node.attrs, softcap: 30 } }));
  expect(() => checkGraph({ ...graph, nodes })).toThrow("scale: unknown attribute 'softcap'");
});

test('what only the shape rule needs is not in the plan', () => {
  const { plan } = compileTraining({
    graph: tinyDecoder(),
    loss: lossRule('linear_ce'),
    optimizer: { op: 'adamw', attrs: {}, weightDecay: () => 0 },
  });
  const keys = new Set(plan.records.flatMap((record) => Object.keys(record.attrs)));
  expect(plan.records.map(({ op }) => op)).toContain('embedding_grad');
  for (const key of ['axes', 'causal', 'window']) expect(keys).not.toContain(key);
});
