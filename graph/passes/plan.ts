/** Assembles a scheduled graph into a plan: buffers, records, programs, digest. `docs/plan-format.md` is its reference. */
import { createHash } from 'node:crypto';
import type { Attrs, Graph, Node, Value, ValueKind } from '../ir/graph.js';
import { elements, getValue } from '../ir/graph.js';
import type { AttrValue, Plan, PlanBuffer, PlanRecord, Space } from '../ir/plan.js';
import { dtypeBytes } from '../ir/plan.js';
import { checkAttributes } from '../ops/op.js';
import { opOf } from '../ops/registry.js';
import { planMemory } from './memory.js';
import { programs } from './schedule.js';

const spaces: Record<ValueKind, Space> = {
  param: 'tensor',
  constant: 'tensor',
  state: 'tensor',
  input: 'input',
  output: 'output',
  intermediate: 'arena',
};

export interface AssembledPlan {
  readonly plan: Plan;
  /** Most bytes alive at one record of any program: what the arena cannot be smaller than. */
  readonly arenaLowerBound: number;
}

/** `program` is what the program of forward and backward is called: `micro` where it is left out. */
export function assemblePlan(
  graph: Graph,
  options: { program?: string; inPlace?: boolean } = {},
): AssembledPlan {
  const buffers: PlanBuffer[] = [];
  const bufferOf = new Map<number, number>();
  const records: PlanRecord[] = [];
  const ranges: Record<string, [number, number]> = {};
  let arenaBytes = 0;
  let arenaLowerBound = 0;
  for (const [program, nodes] of programs(graph)) {
    const memory = planMemory(graph, nodes, { inPlace: options.inPlace ?? true });
    arenaBytes = Math.max(arenaBytes, memory.arenaBytes);
    arenaLowerBound = Math.max(arenaLowerBound, memory.lowerBound);
    const buffer = (id: number): number => {
      const known = bufferOf.get(id);
      if (known !== undefined) return known;
      buffers.push(bufferFor(getValue(graph, id), memory.offsets.get(id) ?? null));
      bufferOf.set(id, buffers.length - 1);
      return buffers.length - 1;
    };
    const from = records.length;
    for (const node of nodes) records.push(recordFor(node, buffer));
    ranges[program === 'micro' ? (options.program ?? program) : program] = [from, records.length];
  }
  const body = { version: 1 as const, name: graph.name, arenaBytes, buffers, records, programs: ranges };
  return { plan: { ...body, digest: digestOf(body) }, arenaLowerBound };
}

const bufferFor = (value: Value, offset: number | null): PlanBuffer => ({
  name: value.name,
  dtype: value.dtype,
  shape: [...value.shape],
  space: spaces[value.kind],
  offset,
});

const recordFor = (node: Node, buffer: (id: number) => number): PlanRecord => ({
  op: node.op,
  inputs: node.inputs.map(buffer),
  outputs: node.outputs.map(buffer),
  attrs: recordAttrs(node),
});

/** The attributes that a record of the node's op has, in key order. */
function recordAttrs(node: Node): Record<string, AttrValue> {
  const op = opOf(node.op);
  checkAttributes(op, node.attrs);
  return Object.fromEntries(
    Object.keys(op.attributes)
      .sort()
      .map((key) => [key, node.attrs[key]!]),
  );
}

const inKeyOrder = (attrs: Attrs): Attrs =>
  Object.fromEntries(Object.entries(attrs).sort(([a], [b]) => (a < b ? -1 : 1)));

/** sha256 of the canonical JSON of everything in a plan but its digest. */
export function digestOf(plan: Omit<Plan, 'digest'>): string {
  const { version, name, arenaBytes, buffers, records, programs: ranges } = plan;
  const canonical = {
    version,
    name,
    arenaBytes,
    buffers: buffers.map(({ name: n, dtype, shape, space, offset }) => [n, dtype, shape, space, offset]),
    records: records.map(({ op, inputs, outputs, attrs }) => [op, inputs, outputs, inKeyOrder(attrs)]),
    programs: Object.entries(ranges).sort(([a], [b]) => (a < b ? -1 : 1)),
  };
  return createHash('sha256').update(JSON.stringify(canonical)).digest('hex');
}

/** The plan as text: one record a line, arena buffers with their byte ranges. */
export function printPlan(plan: Plan): string {
  const show = (index: number) => {
    const { name, dtype, shape, space, offset } = plan.buffers[index]!;
    const bytes = elements(shape) * dtypeBytes[dtype];
    const place = space === 'arena' ? `@${offset}+${bytes}` : `:${space}`;
    return `${name}[${shape.join('x')}]${dtype}${place}`;
  };
  const lines = Object.entries(plan.programs).flatMap(([program, [from, to]]) => [
    `${program}: records ${from} to ${to}`,
    ...plan.records.slice(from, to).map((record, i) => {
      const attrs = Object.entries(record.attrs).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
      const call = `${record.outputs.map(show).join(', ')} = ${record.op}(${record.inputs.map(show).join(', ')})`;
      return `${String(from + i).padStart(6)}  ${[call, ...attrs].join(' ')}`;
    }),
  ]);
  return `plan ${plan.name} v${plan.version} ${plan.digest.slice(0, 12)}, arena ${plan.arenaBytes} bytes\n${lines.join('\n')}\n`;
}
