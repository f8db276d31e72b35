/** Sums of many terms, as a graph has them: trees of `add` nodes. */
import type { Graph } from '../ir/graph.js';

/** A sum, and the nodes that make it of its terms. */
export interface Sum {
  /** Ids of values, in the order in which they are added. */
  readonly terms: readonly number[];
  /** Indices of the `add` nodes. */
  readonly adds: readonly number[];
}

/** Returns the index of the node that makes each value, by id. */
export function indexMakers(graph: Graph): Map<number, number> {
  const makers = new Map<number, number>();
  graph.nodes.forEach(({ outputs }, at) => {
    for (const id of outputs) makers.set(id, at);
  });
  return makers;
}

/**
 * Returns the value `id` as a sum: of itself alone unless an `add` makes it. A sum within it that is read elsewhere too is a term.
 *
 * @param uses how often each value is read, as `countUses` counts
 */
export function findSum(
  graph: Graph,
  id: number,
  makers: ReadonlyMap<number, number>,
  uses: ReadonlyMap<number, number>,
): Sum {
  const adds: number[] = [];
  const termsOf = (value: number): number[] => {
    const at = makers.get(value);
    if (at === undefined || graph.nodes[at]!.op !== 'add' || uses.get(value) !== 1) return [value];
    adds.push(at);
    return graph.nodes[at]!.inputs.flatMap(termsOf);
  };
  return { terms: termsOf(id), adds };
}
