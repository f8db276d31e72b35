/** Removes nodes that reach no output of the graph, no state and no output slot. */
import type { Graph } from '../ir/graph.js';
import { getValue } from '../ir/graph.js';

export function removeDeadCode(graph: Graph): Graph {
  const needed = new Set(Object.values(graph.outputs));
  const kept = graph.nodes
    .toReversed()
    .filter((node) => {
      const lives = node.outputs.some((id) => needed.has(id) || getValue(graph, id).kind !== 'intermediate');
      if (lives) for (const id of node.inputs) needed.add(id);
      return lives;
    })
    .reverse();
  return { ...graph, nodes: kept };
}
