/** Operands by name: a record's groups, and the flat lists in which nodes and kernels have them. */
import { GraphError } from '../ir/error.js';
import type { Attrs } from '../ir/graph.js';

/** A named operand of an op, or a list of them. */
export interface OperandGroup {
  readonly name: string;
  readonly arity: 'one' | 'many';
  /** An attribute that has to be true for a record to have the group; null where it always has. */
  readonly when: string | null;
}

/**
 * Groups in order. Groups of `many` come first and have the same number of buffers; in flat lists they alternate, as the
 * factors of a matmul's products do: a₀, b₀, a₁, b₁, …
 */
export type OperandRule = readonly OperandGroup[];

export interface Operands {
  readonly inputs: OperandRule;
  readonly outputs: OperandRule;
}

export const one = (...names: string[]): OperandRule =>
  names.map((name) => ({ name, arity: 'one', when: null }));
export const many = (...names: string[]): OperandRule =>
  names.map((name) => ({ name, arity: 'many', when: null }));
/** An operand that a record has where the attribute of its name is true. */
export const flagged = (name: string): OperandGroup => ({ name, arity: 'one', when: name });

const isAlways = ({ when }: OperandGroup): boolean => when === null;

/** Returns the groups of a record with these attributes. @throws GraphError for an op that only graphs have */
export function recordOperands(
  { name, operands }: { readonly name: string; readonly operands?: Operands },
  attrs: Attrs,
): Operands {
  if (operands === undefined)
    throw new GraphError(`op ${name} cannot stand in a plan: only the interpreter runs it`);
  if (operands.inputs.every(isAlways) && operands.outputs.every(isAlways)) return operands;
  const present = (group: OperandGroup) => isPresent(group, attrs);
  return { inputs: operands.inputs.filter(present), outputs: operands.outputs.filter(present) };
}

/** Returns whether a record with these attributes has the group. */
export const isPresent = ({ when }: OperandGroup, attrs: Attrs): boolean =>
  when === null || attrs[when] === true;

/** Sorts a flat list of operands into its groups. @throws GraphError when the list does not fit the rule */
export function groupOperands(
  op: string,
  rule: OperandRule,
  flat: readonly number[],
): Record<string, number[]> {
  const groups: Record<string, number[]> = {};
  const many: number[][] = [];
  for (const { name, arity } of rule) {
    groups[name] = [];
    if (arity === 'many') many.push(groups[name]);
  }
  const alternating = flat.length - (rule.length - many.length);
  if (many.length === 0 ? alternating !== 0 : alternating < 0 || alternating % many.length !== 0)
    throw new GraphError(`${op} takes ${describeRule(rule)}, not ${flat.length} operands`);
  for (let i = 0; i < alternating; i++) many[i % many.length]!.push(flat[i]!);
  let next = alternating;
  for (const { name, arity } of rule) if (arity === 'one') groups[name]!.push(flat[next++]!);
  return groups;
}

/** Returns the operands of a record as a flat list. @throws GraphError when its groups do not fit the rule */
export function flattenOperands(
  op: string,
  rule: OperandRule,
  groups: Readonly<Record<string, readonly number[]>>,
): number[] {
  const unknown = Object.keys(groups).filter((key) => !rule.some(({ name }) => name === key));
  if (unknown.length > 0)
    throw new GraphError(`${op} takes ${describeRule(rule)}, not '${unknown.join("', '")}'`);
  const many = rule.filter(({ arity }) => arity === 'many').map(({ name }) => groups[name] ?? []);
  const turns = many[0]?.length ?? 0;
  if (many.some((group) => group.length !== turns))
    throw new GraphError(`${op}: ${describeRule(rule)} differ in number`);
  const alternating = Array.from({ length: turns }, (_, turn) => many.map((group) => group[turn]!)).flat();
  const single = rule.flatMap(({ name, arity }) => {
    if (arity === 'many') return [];
    const group = groups[name] ?? [];
    if (group.length !== 1) throw new GraphError(`${op}: '${name}' is one operand, not ${group.length}`);
    return group;
  });
  return [...alternating, ...single];
}

const describeRule = (rule: OperandRule): string =>
  rule.map(({ name, arity }) => (arity === 'one' ? name : `${name}…`)).join(', ') || 'nothing';
