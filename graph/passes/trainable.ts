/** Marks which parameters are trained. */
import type { Graph } from '../ir/graph.js';

/** Parameters for which `trained` is true are trained, all others frozen. */
export function setTrainable(graph: Graph, trained: (name: string) => boolean): Graph {
  return {
    ...graph,
    values: graph.values.map((value) =>
      value.kind === 'param' ? { ...value, role: trained(value.name) ? 'trained' : 'frozen' } : value,
    ),
  };
}
