/** Removes nodes that reach no output of the graph, no state and no output slot. */
import type { Graph } from '../ir/graph.js';
import { getValue } from '../ir/graph.js';

export function removeDeadCode(graph: Graph): Graph {
  const needed = new Uint8Array(graph.values.length);
  for (const id of Object.values(graph.outputs)) needed[id] = 1;
  const nodes = graph.nodes
    .toReversed()
    .filter((node) => {
      const lives = node.outputs.some(
        (id) => needed[id] === 1 || getValue(graph, id).kind !== 'intermediate',
      );
      if (lives) for (const id of node.inputs) needed[id] = 1;
      return lives;
    })
    .reverse();
  return { ...graph, nodes };
}
