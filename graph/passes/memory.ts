/**
 * Memory planning: an offset in the arena for every intermediate value of a program, such that no two that live at one
 * time overlap. Greedy by size, best fit (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
 * inference"): the largest value is placed first, each into the tightest gap among those that live at the same time.
 */
import type { Graph, Node, Value } from '../ir/graph.js';
import { elements, getValue } from '../ir/graph.js';
import { dtypeBytes } from '../ir/plan.js';
import { opOf } from '../ops/registry.js';
import type { Lifetime } from './liveness.js';
import { arenaSize, defaultAlignment, lifetimes, peakBytes } from './liveness.js';

export interface MemoryPlan {
  /** Byte offset of each intermediate value, by id. */
  readonly offsets: ReadonlyMap<number, number>;
  readonly arenaBytes: number;
  /** The most bytes alive at one node: no plan of this order can be smaller. */
  readonly lowerBound: number;
}

/** Values that share one range: one, or a chain of values each computed in place of the one before. */
interface Range {
  readonly ids: number[];
  readonly bytes: number;
  readonly life: Lifetime;
  offset: number;
}

export interface MemoryOptions {
  /** False gives every value a range of its own. */
  readonly inPlace: boolean;
  /** Of every offset, bytes. */
  readonly alignment: number;
}

export function planMemory(
  graph: Graph,
  nodes: readonly Node[],
  { inPlace, alignment }: MemoryOptions = { inPlace: true, alignment: defaultAlignment },
): MemoryPlan {
  const separate = separateRanges(graph, nodes, alignment);
  const ranges = inPlace ? sharedRanges(graph, nodes, separate) : separate;
  const bySize = [...ranges].sort((a, b) => b.bytes - a.bytes || a.life.first - b.life.first);
  const placedRanges = new PlacedRanges(nodes.length);
  for (const range of bySize) {
    range.offset = bestFit(range, placedRanges.near(range.life));
    placedRanges.add(range);
  }
  const offsets = new Map(ranges.flatMap((range) => range.ids.map((id) => [id, range.offset] as const)));
  const arenaBytes = ranges.reduce((end, range) => Math.max(end, range.offset + range.bytes), 0);
  return { offsets, arenaBytes, lowerBound: peakBytes(ranges, nodes.length) };
}

function separateRanges(graph: Graph, nodes: readonly Node[], alignment: number): Range[] {
  return [...lifetimes(graph, nodes)].map(([id, life]) => ({
    ids: [id],
    bytes: arenaSize(getValue(graph, id), alignment),
    life,
    offset: 0,
  }));
}

/** Lets an output take over the range of an input that dies there, where the op works in place. */
function sharedRanges(graph: Graph, nodes: readonly Node[], separate: readonly Range[]): Range[] {
  const ranges = new Map(separate.map((range) => [range.ids[0]!, range]));
  nodes.forEach((node, at) => {
    for (const { output, input, when } of opOf(node.op).inPlace ?? []) {
      const [outputId, inputId] = [node.outputs[output], node.inputs.at(input)];
      if (outputId === undefined || inputId === undefined || (when !== null && node.attrs[when] !== true))
        continue;
      const [into, from] = [ranges.get(outputId), ranges.get(inputId)];
      if (into !== undefined && into.ids[0] !== outputId) continue; // it has taken over another input's range
      const isOnlyUse = node.inputs.filter((id) => id === inputId).length === 1;
      if (into === undefined || from === undefined || from.life.last !== at || !isOnlyUse) continue;
      if (!sameStorage(getValue(graph, outputId), getValue(graph, inputId))) continue;
      from.ids.push(outputId);
      from.life.last = into.life.last;
      ranges.set(outputId, from);
    }
  });
  return [...new Set(ranges.values())];
}

const sameStorage = (a: Value, b: Value): boolean =>
  a.dtype === b.dtype && elements(a.shape) * dtypeBytes[a.dtype] === elements(b.shape) * dtypeBytes[b.dtype];

/** The tightest gap between ranges that live at the same time; after them all where none is wide enough. */
function bestFit(range: Range, near: readonly Range[]): number {
  let best = -1;
  let bestGap = Number.POSITIVE_INFINITY;
  let end = 0;
  for (const other of near) {
    if (other.life.last < range.life.first || range.life.last < other.life.first) continue;
    const gap = other.offset - end;
    if (gap >= range.bytes && gap < bestGap) [best, bestGap] = [end, gap];
    end = Math.max(end, other.offset + other.bytes);
  }
  return best >= 0 ? best : end;
}

/**
 * Ranges by offset, to be found by when they live. Most live for a few nodes out of thousands, so the nodes are cut
 * into bins of several sizes, and a range is looked for in the smallest bin that holds its whole life.
 */
class PlacedRanges {
  readonly #levels: { readonly nodes: number; readonly bins: Range[][] }[];

  constructor(nodes: number) {
    this.#levels = [64, 512, nodes].map((size) => ({
      nodes: size,
      bins: Array.from({ length: Math.floor(nodes / size) + 1 }, () => []),
    }));
  }

  add(range: Range): void {
    for (const level of this.#levels) {
      const last = Math.floor(range.life.last / level.nodes);
      for (let b = Math.floor(range.life.first / level.nodes); b <= last; b++)
        insertByOffset(level.bins[b]!, range);
    }
  }

  /** Those that may live at some node of `life`, by offset. */
  near(life: Lifetime): readonly Range[] {
    for (const { nodes, bins } of this.#levels) {
      const b = Math.floor(life.first / nodes);
      if (b === Math.floor(life.last / nodes)) return bins[b]!;
    }
    return [];
  }
}

function insertByOffset(ranges: Range[], range: Range): void {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle]!.offset <= range.offset) low = middle + 1;
    else high = middle;
  }
  ranges.splice(low, 0, range);
}
