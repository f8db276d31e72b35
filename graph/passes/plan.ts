/** Assembles a scheduled graph into a plan: buffers, records, programs, digest. `docs/plan-format.md` is its reference. */
import { sha256 } from '../../shared/digest.js';
import type { Graph, Node, Value, ValueKind } from '../ir/graph.js';
import { getValue } from '../ir/graph.js';
import type { AttrValue, Plan, PlanBuffer, PlanRecord, Space, StepItem } from '../ir/plan.js';
import { groupOperands, recordOperands } from '../ops/operands.js';
import { opOf } from '../ops/registry.js';
import { arenaSize, defaultAlignment } from './liveness.js';
import { type MemoryOptions, planMemory } from './memory.js';
import { orderTransfers, streamOf } from './plan_events.js';
import { type StagedPrograms, stageSlots } from './slots.js';

const spaces: Record<ValueKind, Space> = {
  param: 'tensor',
  constant: 'tensor',
  state: 'tensor',
  input: 'input',
  output: 'output',
  staged: 'arena',
  intermediate: 'arena',
};

/** The order of the programs of training: an update may be left out, and a snapshot mostly is. */
const trainingStep: readonly StepItem[] = [
  { program: 'micro', repeat: true, optional: false },
  { program: 'norm', repeat: false, optional: false },
  { program: 'update', repeat: false, optional: true },
  { program: 'snapshot', repeat: false, optional: true },
];

export interface AssembledPlan {
  readonly plan: Plan;
  /** Most bytes alive at one record of any program, and staged ones: what the arena cannot be smaller than. */
  readonly arenaLowerBound: number;
}

/**
 * `program` is what the program of forward and backward is called: `micro` where it is left out. `alignment` is that of
 * buffers in the arena, bytes.
 */
export function assemblePlan(
  scheduled: Graph,
  options: { program?: string; inPlace?: boolean; alignment?: number } = {},
): AssembledPlan {
  const { program = 'micro', inPlace = true, alignment = defaultAlignment } = options;
  const { graph, programs } = stageSlots(scheduled, program);
  const memory = arenaOf({ graph, programs }, { inPlace, alignment });
  const buffers: PlanBuffer[] = [];
  const bufferOf = new Map<number, number>();
  const buffer = (id: number): number => {
    const index = bufferOf.get(id);
    if (index !== undefined) return index;
    buffers.push(bufferFor(getValue(graph, id), memory.offsets.get(id) ?? null));
    bufferOf.set(id, buffers.length - 1);
    return buffers.length - 1;
  };
  const records = new Map(
    programs.map(({ program, nodes }) => [program, nodes.map((n) => recordFor(n, buffer))]),
  );
  const step = records.has('update') ? trainingStep.map((item) => ({ ...item })) : [];
  const { arenaBytes } = memory;
  const plan = joinPrograms({ name: graph.name, alignment, arenaBytes, buffers, step }, records);
  return { plan, arenaLowerBound: memory.lowerBound };
}

/**
 * A plan of these programs, their transfers ordered by events. A program's segments are its runs of records of one stream, so
 * that what it computes is a segment of its own, to be captured.
 */
export function joinPrograms(
  {
    name,
    alignment,
    arenaBytes,
    buffers,
    step,
  }: Pick<Plan, 'name' | 'alignment' | 'arenaBytes' | 'buffers' | 'step'>,
  programs: ReadonlyMap<string, readonly PlanRecord[]>,
): Plan {
  const events = orderTransfers(programs);
  const records: PlanRecord[] = [];
  const segments: Plan['segments'] = [];
  const ranges: Plan['programs'] = {};
  for (const [program, own] of programs) {
    const first = segments.length;
    own.forEach(({ stream }, at) => {
      if (at > 0 && own[at - 1]!.stream === stream) segments.at(-1)!.to++;
      else segments.push({ from: records.length + at, to: records.length + at + 1, loop: null });
    });
    ranges[program] = [first, segments.length];
    records.push(...own);
  }
  const body = { version: 2 as const, name, alignment, arenaBytes, buffers, events };
  const plan = { ...body, records, segments, programs: ranges, step };
  return { ...plan, digest: planDigest(plan) };
}

interface Arena {
  readonly offsets: ReadonlyMap<number, number>;
  readonly arenaBytes: number;
  readonly lowerBound: number;
}

/**
 * The programs share the arena from its start on, since they run one after the other. Behind it every staged value has a
 * range of its own: it is moved while another run, or another program, computes.
 */
function arenaOf({ graph, programs }: StagedPrograms, options: MemoryOptions): Arena {
  const memories = programs.map(({ nodes }) => planMemory(graph, nodes, options));
  const offsets = new Map(memories.flatMap((memory) => [...memory.offsets]));
  const shared = Math.max(0, ...memories.map((memory) => memory.arenaBytes));
  let end = shared;
  for (const value of graph.values) {
    if (value.kind !== 'staged') continue;
    offsets.set(value.id, end);
    end += arenaSize(value, options.alignment);
  }
  const mostAlive = Math.max(0, ...memories.map(({ lowerBound }) => lowerBound));
  return { offsets, arenaBytes: end, lowerBound: mostAlive + end - shared };
}

const bufferFor = (value: Value, offset: number | null): PlanBuffer => ({
  name: value.name,
  dtype: value.dtype,
  shape: [...value.shape],
  space: spaces[value.kind],
  offset,
  view: null,
});

function recordFor(node: Node, buffer: (id: number) => number): PlanRecord {
  const groups = recordOperands(opOf(node.op), node.attrs);
  return {
    op: node.op,
    inputs: groupOperands(node.op, groups.inputs, node.inputs.map(buffer)),
    outputs: groupOperands(node.op, groups.outputs, node.outputs.map(buffer)),
    attrs: recordAttrs(node),
    stream: streamOf(node.op),
    waits: [],
    signals: [],
    when: 'always',
    phase: node.phase,
    scope: node.scope,
  };
}

/** The attributes that a record of the node's op has, in key order. */
function recordAttrs(node: Node): Record<string, AttrValue> {
  const op = opOf(node.op);
  const attrs: Record<string, AttrValue> = {};
  for (const key of Object.keys(op.attributes).sort()) attrs[key] = node.attrs[key]!;
  return attrs;
}

/**
 * sha256 of everything in a plan but its digest. Objects are lists here, and names in order, so that it does not depend on
 * the order of keys.
 */
export function planDigest(plan: Omit<Plan, 'digest'>): string {
  const { version, name, alignment, arenaBytes, events, segments, programs, step } = plan;
  const lines = [
    JSON.stringify([version, name, alignment, arenaBytes, events, byName(programs)]),
    JSON.stringify(segments.map(({ from, to, loop }) => [from, to, loop && [loop.count, loop.max]])),
    JSON.stringify(step.map(({ program, repeat, optional }) => [program, repeat, optional])),
  ];
  for (const { name: buffer, dtype, shape, space, offset, view } of plan.buffers)
    lines.push(JSON.stringify([buffer, dtype, shape, space, offset, view && [view.of, view.row]]));
  for (const { op, inputs, outputs, attrs, stream, waits, signals, when, phase, scope } of plan.records) {
    const call = [op, byName(inputs), byName(outputs), byName(attrs)];
    lines.push(JSON.stringify([call, stream, waits, signals, when, phase, scope]));
  }
  return sha256(lines.join('\n'));
}

function byName<T>(object: Readonly<Record<string, T>>): [string, T][] {
  const names = Object.keys(object);
  // Sorting takes memory even where there is nothing to do, and most lists are in order.
  if (names.some((name, i) => i > 0 && name < names[i - 1]!)) names.sort();
  return names.map((name) => [name, object[name]!]);
}
