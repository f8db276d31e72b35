/** Operands by name: a record's groups, and the flat lists in which nodes and kernels have them. */
import { GraphError } from '../ir/error.js';
import type { Attrs } from '../ir/graph.js';

/**
 * Groups in order. Groups of `many` come first and have the same number of buffers; in flat lists they alternate, as the
 * factors of a matmul's products do: a₀, b₀, a₁, b₁, …
 */
export type OperandRule = readonly (readonly [name: string, arity: 'one' | 'many'])[];

export interface Operands {
  readonly inputs: OperandRule;
  readonly outputs: OperandRule;
}

/** Sorts a flat list of operands into its groups. @throws GraphError when the list does not fit the rule */
export function groupOperands(
  op: string,
  rule: OperandRule,
  flat: readonly number[],
): Record<string, number[]> {
  const manyNames = rule.filter(([, arity]) => arity === 'many').map(([name]) => name);
  const single = rule.length - manyNames.length;
  const turns = manyNames.length === 0 ? 0 : (flat.length - single) / manyNames.length;
  if (!Number.isInteger(turns) || turns < 0 || (manyNames.length === 0 && flat.length !== single))
    throw new GraphError(`${op} takes ${describeRule(rule)}, not ${flat.length} operands`);
  const alternating = manyNames.length * turns;
  const groups = manyNames.map((name, i) => [
    name,
    Array.from({ length: turns }, (_, turn) => flat[turn * manyNames.length + i]!),
  ]);
  const rest = rule
    .filter(([, arity]) => arity === 'one')
    .map(([name], i) => [name, [flat[alternating + i]!]]);
  return Object.fromEntries([...groups, ...rest]);
}

/** The operands of a record as a flat list. @throws GraphError when its groups do not fit the rule */
export function flattenOperands(
  op: string,
  rule: OperandRule,
  groups: Readonly<Record<string, readonly number[]>>,
): number[] {
  const unknown = Object.keys(groups).filter((name) => !rule.some(([known]) => known === name));
  if (unknown.length > 0)
    throw new GraphError(`${op} takes ${describeRule(rule)}, not '${unknown.join("', '")}'`);
  const many = rule.filter(([, arity]) => arity === 'many').map(([name]) => groups[name] ?? []);
  const turns = many[0]?.length ?? 0;
  if (many.some((group) => group.length !== turns))
    throw new GraphError(`${op}: ${describeRule(rule)} differ in number`);
  const alternating = Array.from({ length: turns }, (_, turn) => many.map((group) => group[turn]!)).flat();
  const single = rule.flatMap(([name, arity]) => {
    if (arity === 'many') return [];
    const group = groups[name] ?? [];
    if (group.length !== 1) throw new GraphError(`${op}: '${name}' is one operand, not ${group.length}`);
    return group;
  });
  return [...alternating, ...single];
}

const describeRule = (rule: OperandRule): string =>
  rule.map(([name, arity]) => (arity === 'one' ? name : `${name}…`)).join(', ') || 'nothing';

const one = (...names: string[]): OperandRule => names.map((name) => [name, 'one'] as const);
const many = (...names: string[]): OperandRule => names.map((name) => [name, 'many'] as const);

/** The operands of an op whose node or record has these attributes. */
export function operandsOf(op: string, attrs: Attrs): Operands {
  const rule = rules[op];
  if (rule === undefined) throw new GraphError(`op ${op} cannot stand in a plan`);
  return typeof rule === 'function' ? rule(attrs) : rule;
}

const when = (condition: unknown, ...names: string[]): OperandRule =>
  condition === true ? one(...names) : [];

const rules: Readonly<Record<string, Operands | ((attrs: Attrs) => Operands)>> = {
  fill: { inputs: [], outputs: one('y') },
  cast: { inputs: one('x'), outputs: one('y') },
  add: { inputs: one('a', 'b'), outputs: one('y') },
  scale: { inputs: one('x'), outputs: one('y') },
  embedding: { inputs: one('table', 'ids'), outputs: one('y') },
  embedding_grad: { inputs: one('dy', 'ids'), outputs: one('dtable') },
  matmul: ({ bias, residual }) => ({
    inputs: [...many('a', 'b'), ...when(bias, 'bias'), ...when(residual, 'residual')],
    outputs: one('y'),
  }),
  rmsnorm: { inputs: one('x', 'w'), outputs: one('y', 'rstd') },
  rmsnorm_grad: ({ residual, dw }) => ({
    inputs: [...one('dy', 'x', 'w', 'rstd'), ...when(residual, 'residual')],
    outputs: [...one('dx'), ...when(dw, 'dw')],
  }),
  rope: { inputs: one('x', 'table', 'positions'), outputs: one('y') },
  attention: { inputs: one('q', 'k', 'v', 'segments'), outputs: one('o', 'lse') },
  attention_grad: {
    inputs: one('do', 'q', 'k', 'v', 'o', 'lse', 'segments'),
    outputs: one('dq', 'dk', 'dv'),
  },
  swiglu: { inputs: one('gate', 'up'), outputs: one('h') },
  swiglu_grad: { inputs: one('dh', 'gate', 'up'), outputs: one('dgate', 'dup') },
  reduce_rows: { inputs: one('x'), outputs: one('y') },
  dropout: { inputs: one('x', 'key', 'packs', 'offsets'), outputs: one('y') },
  cross_entropy: ({ grad }) => ({
    inputs: one('logits', 'labels', 'weight'),
    outputs: [...one('loss'), ...when(grad, 'dlogits')],
  }),
  linear_cross_entropy: ({ dx, dw }) => ({
    inputs: one('x', 'w', 'labels', 'weight'),
    outputs: [...one('loss'), ...when(dx, 'dx'), ...when(dw, 'dw')],
  }),
  linear_logprobs: { inputs: one('x', 'w', 'targets'), outputs: one('logprobs') },
  global_norm: { inputs: many('g'), outputs: one('norm', 'norms') },
  adamw: { inputs: one('p', 'g', 'norm', 'max_norm', 'scalars'), outputs: one('p', 'm', 'v') },
  sgd: ({ momentum }) => ({
    inputs: one('p', 'g', 'norm', 'max_norm', 'scalars'),
    outputs: [...one('p'), ...when(momentum, 'momentum')],
  }),
  random_normal: { inputs: [], outputs: one('y') },
  random_uniform: { inputs: [], outputs: one('y') },
  upload: { inputs: many('x'), outputs: many('y') },
  download: { inputs: many('x'), outputs: many('y') },
};
