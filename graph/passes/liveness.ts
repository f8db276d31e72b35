/** Dependencies of each node and lifetime of each value: shared by scheduling and memory planning. */
import type { Graph, Node, Value } from '../ir/graph.js';
import { elements, getValue } from '../ir/graph.js';
import { dtypeBytes } from '../ir/plan.js';

/** Alignment of buffers in the arena where a target asks for no other, bytes: a cache line, and the widest vector. */
export const defaultAlignment = 64;

/** Returns the bytes that a value takes in an arena whose buffers are aligned to so many bytes. */
export const arenaSize = (value: Value, alignment: number): number =>
  Math.ceil((elements(value.shape) * dtypeBytes[value.dtype]) / alignment) * alignment;

/**
 * For each node, the nodes (by index) it must follow: those that make its inputs, and for tensors that are written in
 * place (gradients, parameters in the update) the accesses before, so that their order stays the graph's.
 */
export function dependencies(graph: Graph, nodes: readonly Node[]): number[][] {
  const producer = new Map<number, number>();
  const lastWrite = new Map<number, number>();
  const readsSince = new Map<number, number[]>();
  return nodes.map((node, at) => {
    const before = new Set<number>();
    for (const id of node.inputs) {
      const maker = producer.get(id) ?? lastWrite.get(id);
      if (maker !== undefined) before.add(maker);
      if (getValue(graph, id).kind === 'intermediate') continue;
      const readers = readsSince.get(id);
      if (readers === undefined) readsSince.set(id, [at]);
      else readers.push(at);
    }
    for (const id of node.outputs) {
      if (getValue(graph, id).kind === 'intermediate') {
        producer.set(id, at);
        continue;
      }
      const lastWriter = lastWrite.get(id);
      if (lastWriter !== undefined) before.add(lastWriter);
      for (const reader of readsSince.get(id) ?? []) if (reader !== at) before.add(reader);
      lastWrite.set(id, at);
      readsSince.set(id, []);
    }
    return [...before];
  });
}

/** Returns how often each value, by id, is read by a node or is an output of the graph. */
export function countUses(graph: Graph): Map<number, number> {
  const uses = new Map<number, number>();
  const use = (id: number) => uses.set(id, (uses.get(id) ?? 0) + 1);
  for (const node of graph.nodes) node.inputs.forEach(use);
  Object.values(graph.outputs).forEach(use);
  return uses;
}

export interface Lifetime {
  /** Index of the node that makes the value. */
  first: number;
  /** Index of the last node that touches it. */
  last: number;
}

/** Lifetimes of the intermediate values of a program, by id. */
export function lifetimes(graph: Graph, nodes: readonly Node[]): Map<number, Lifetime> {
  const lives = new Map<number, Lifetime>();
  nodes.forEach((node, at) => {
    for (const id of node.outputs) {
      if (getValue(graph, id).kind === 'intermediate') lives.set(id, { first: at, last: at });
    }
    for (const id of node.inputs) {
      const life = lives.get(id);
      if (life !== undefined) life.last = at;
    }
  });
  return lives;
}

/** The most bytes alive at one node. */
export function peakBytes(sizes: readonly { life: Lifetime; bytes: number }[], nodes: number): number {
  const change = new Float64Array(nodes + 1);
  for (const { life, bytes } of sizes) {
    change[life.first]! += bytes;
    change[life.last + 1]! -= bytes;
  }
  let live = 0;
  let peak = 0;
  for (const delta of change) {
    live += delta;
    peak = Math.max(peak, live);
  }
  return peak;
}
