/**
 * Scheduling: orders nodes so that little memory is alive at a time. Layers keep their order; within a layer's forward
 * or backward nodes the one that frees most (allocates least) goes first, ties as written. A program keeps the order it
 * came in where that peaks lower. Deterministic.
 */
import { GraphError } from '../ir/error.js';
import type { Graph, Node, Phase } from '../ir/graph.js';
import { getValue } from '../ir/graph.js';
import { arenaSize, defaultAlignment, dependencies, lifetimes, peakBytes } from './liveness.js';

export type ProgramName = 'micro' | 'norm' | 'update';

/** The program a phase belongs to. */
export const programOf = (phase: Phase): ProgramName =>
  phase === 'norm' || phase === 'update' ? phase : 'micro';

/** The nodes of each program, in order. */
export function programs(graph: Graph): Map<ProgramName, Node[]> {
  const nodesByProgram = new Map<ProgramName, Node[]>();
  for (const node of graph.nodes) {
    const list = nodesByProgram.get(programOf(node.phase));
    if (list === undefined) nodesByProgram.set(programOf(node.phase), [node]);
    else list.push(node);
  }
  return nodesByProgram;
}

/** @param alignment of buffers in the arena, bytes */
export function schedule(graph: Graph, alignment = defaultAlignment): Graph {
  const nodes = [...programs(graph).values()].flatMap((program) => {
    const peak = peakOf(graph, program, alignment);
    // An update works only on tensors: all its nodes are ready at once, and no order of them takes less.
    if (peak === 0) return program;
    const greedy = byMemory(graph, program, alignment);
    return peakOf(graph, greedy, alignment) < peak ? greedy : program;
  });
  return { ...graph, nodes };
}

/** The most bytes alive at one node of the program `micro`, in the order the graph has. */
export const peakOfMicro = (graph: Graph, alignment: number): number =>
  peakOf(graph, programs(graph).get('micro') ?? [], alignment);

function peakOf(graph: Graph, nodes: readonly Node[], alignment: number): number {
  const lives = lifetimes(graph, nodes);
  const sizes = [...lives].map(([id, life]) => ({ life, bytes: arenaSize(getValue(graph, id), alignment) }));
  return peakBytes(sizes, nodes.length);
}

/** The nodes whose predecessors have all been taken, and the rule by which one of them is next. */
interface ReadyQueue {
  push(at: number): void;
  /** Removes and returns a node; undefined when there is none. */
  take(): number | undefined;
}

/** Kahn's algorithm. */
function listSchedule(before: readonly (readonly number[])[], ready: ReadyQueue): number[] {
  const waiting = before.map((list) => list.length);
  const after = before.map((): number[] => []);
  before.forEach((list, at) => {
    for (const earlier of list) after[earlier]!.push(at);
  });
  waiting.forEach((count, at) => {
    if (count === 0) ready.push(at);
  });
  const order: number[] = [];
  for (let at = ready.take(); at !== undefined; at = ready.take()) {
    order.push(at);
    for (const next of after[at]!) {
      waiting[next]!--;
      if (waiting[next] === 0) ready.push(next);
    }
  }
  if (order.length < before.length) throw new GraphError('the graph has a cycle');
  return order;
}

function byMemory(graph: Graph, nodes: readonly Node[], alignment: number): Node[] {
  const inputs = nodes.map((node) => [...new Set(node.inputs)]);
  const remaining = new Int32Array(graph.values.length);
  for (const ids of inputs) for (const id of ids) remaining[id]!++;
  const sizes = graph.values.map((value) =>
    value.kind === 'intermediate' ? arenaSize(value, alignment) : 0,
  );
  const bytesMade = nodes.map(({ outputs }) => outputs.reduce((bytes, id) => bytes + sizes[id]!, 0));
  const growth = (at: number) => {
    const ids = inputs[at]!;
    let bytes = bytesMade[at]!;
    for (let i = 0; i < ids.length; i++) if (remaining[ids[i]!] === 1) bytes -= sizes[ids[i]!]!;
    return bytes;
  };
  const windows = windowOf(nodes);
  const ready = Array.from({ length: (windows.at(-1) ?? 0) + 1 }, (): number[] => []);
  // No window before this one has a node that is ready.
  let first = 0;
  const queue: ReadyQueue = {
    push(at) {
      first = Math.min(first, windows[at]!);
      ready[windows[at]!]!.push(at);
    },
    take() {
      while (ready[first]?.length === 0) first++;
      const window = ready[first];
      if (window === undefined) return undefined;
      let best = 0;
      let least = growth(window[0]!);
      for (let i = 1; i < window.length; i++) {
        const bytes = growth(window[i]!);
        if (bytes < least || (bytes === least && window[i]! < window[best]!)) [best, least] = [i, bytes];
      }
      const [at] = window.splice(best, 1) as [number];
      for (const id of inputs[at]!) remaining[id]!--;
      return at;
    },
  };
  return listSchedule(dependencies(graph, nodes), queue).map((at) => nodes[at]!);
}

/** Numbers the runs of nodes that belong to one layer and one direction. */
function windowOf(nodes: readonly Node[]): number[] {
  let window = 0;
  return nodes.map((node, i) => {
    const previous = nodes[i - 1];
    const forward = (n: Node) => n.phase === 'forward';
    if (previous !== undefined && (previous.scope !== node.scope || forward(previous) !== forward(node)))
      window++;
    return window;
  });
}
