/**
 * Scheduling: orders nodes so that little memory is alive at a time. Layers keep their order; within a layer's forward
 * or backward nodes the one that frees most (allocates least) goes first, ties as written. A program keeps the order it
 * came in where that peaks lower. Deterministic.
 */
import { GraphError } from '../error.js';
import type { Graph, Node, Phase } from '../graph.js';
import { getValue } from '../graph.js';
import { arenaSize, dependencies, lifetimes, peakBytes } from './liveness.js';

export type ProgramName = 'micro' | 'norm' | 'update';

/** The program a phase belongs to. */
export const programOf = (phase: Phase): ProgramName =>
  phase === 'norm' || phase === 'update' ? phase : 'micro';

/** The nodes of each program, in order. */
export function programs(graph: Graph): Map<ProgramName, Node[]> {
  const found = new Map<ProgramName, Node[]>();
  for (const node of graph.nodes) {
    const list = found.get(programOf(node.phase));
    if (list === undefined) found.set(programOf(node.phase), [node]);
    else list.push(node);
  }
  return found;
}

export function schedule(graph: Graph): Graph {
  const nodes = [...programs(graph).values()].flatMap((program) => {
    const greedy = byMemory(graph, program);
    return peakOf(graph, greedy) < peakOf(graph, program) ? greedy : program;
  });
  return { ...graph, nodes };
}

/** A random legal order of every program, for tests: values must not depend on which legal order is run. */
export function randomOrder(graph: Graph, seed: number): Graph {
  let state = seed >>> 0;
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const nodes = [...programs(graph).values()].flatMap((program) =>
    listSchedule(dependencies(graph, program), (ready) => random(ready.length)).map((at) => program[at]!),
  );
  return { ...graph, nodes };
}

function peakOf(graph: Graph, nodes: readonly Node[]): number {
  const lives = lifetimes(graph, nodes);
  const sizes = [...lives].map(([id, life]) => ({ life, bytes: arenaSize(getValue(graph, id)) }));
  return peakBytes(sizes, nodes.length);
}

/** Kahn's algorithm; `choose` picks among the ready nodes, which stand in the order they became ready. */
function listSchedule(
  before: readonly (readonly number[])[],
  choose: (ready: readonly number[]) => number,
): number[] {
  const waiting = before.map((list) => list.length);
  const after = before.map((): number[] => []);
  before.forEach((list, at) => {
    for (const earlier of list) after[earlier]!.push(at);
  });
  const ready = waiting.flatMap((count, at) => (count === 0 ? [at] : []));
  const order: number[] = [];
  while (ready.length > 0) {
    const [at] = ready.splice(choose(ready), 1) as [number];
    order.push(at);
    for (const next of after[at]!) {
      waiting[next]!--;
      if (waiting[next] === 0) ready.push(next);
    }
  }
  if (order.length < before.length) throw new GraphError('the graph has a cycle');
  return order;
}

function byMemory(graph: Graph, nodes: readonly Node[]): Node[] {
  const before = dependencies(graph, nodes);
  const windows = windowOf(nodes);
  const remaining = new Map<number, number>();
  for (const node of nodes)
    for (const id of new Set(node.inputs)) remaining.set(id, (remaining.get(id) ?? 0) + 1);
  const sizeOf = (id: number) =>
    getValue(graph, id).kind === 'intermediate' ? arenaSize(getValue(graph, id)) : 0;
  const growth = (at: number) => {
    let bytes = 0;
    for (const id of nodes[at]!.outputs) bytes += sizeOf(id);
    for (const id of new Set(nodes[at]!.inputs)) if (remaining.get(id) === 1) bytes -= sizeOf(id);
    return bytes;
  };
  const order = listSchedule(before, (ready) => {
    let best = 0;
    let bestGrowth = Number.POSITIVE_INFINITY;
    const window = ready.reduce((least, at) => Math.min(least, windows[at]!), Number.POSITIVE_INFINITY);
    ready.forEach((at, i) => {
      if (windows[at] !== window) return;
      const bytes = growth(at);
      if (bytes < bestGrowth || (bytes === bestGrowth && at < ready[best]!)) [best, bestGrowth] = [i, bytes];
    });
    for (const id of new Set(nodes[ready[best]!]!.inputs)) remaining.set(id, remaining.get(id)! - 1);
    return best;
  });
  return order.map((at) => nodes[at]!);
}

/** Numbers the runs of nodes that belong to one layer and one direction. */
function windowOf(nodes: readonly Node[]): number[] {
  let window = 0;
  return nodes.map((node, i) => {
    const previous = nodes[i - 1];
    const forward = (n: Node) => n.phase === 'forward';
    if (previous !== undefined && (previous.layer !== node.layer || forward(previous) !== forward(node)))
      window++;
    return window;
  });
}
