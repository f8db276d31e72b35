/**
 * Gradient accumulation: gives each gradient, and the loss, a tensor of the context that micro-batches add to. The op
 * that makes a gradient adds to it directly (`accumulate`), so no pass over memory is spent on the sum; of several ops
 * that contribute to one gradient the first overwrites on a step's first micro-batch, and the others always add.
 */
import { GraphBuilder } from '../builder/builder.js';
import { GraphError } from '../ir/error.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { getValue } from '../ir/graph.js';
import { opOf } from '../ops/registry.js';

/** The context's tensor that a step's loss is summed in. */
export const lossState = 'stat:loss';

/** Turns the outputs `loss` and `grad:<name>` into states `stat:loss` and `grad:<name>`, accumulated over micro-batches. */
export function accumulateGradients(graph: Graph): Graph {
  const producers = new Map<number, number>();
  graph.nodes.forEach((node, at) => {
    for (const id of node.outputs) producers.set(id, at);
  });
  const builder = GraphBuilder.withValuesOf({ ...graph, outputs: {} });
  const nodes: (Node | null)[] = [...graph.nodes];

  for (const [name, id] of Object.entries(graph.outputs)) {
    const summed = getValue(graph, id);
    const state = builder.state(
      name === 'loss' ? lossState : name,
      name === 'loss' ? 'statistic' : 'gradient',
      'f32',
      summed.axes.join(' '),
      summed.placement,
    );
    const terms = sumTerms(graph, nodes, producers, id).sort((a, b) => producers.get(a)! - producers.get(b)!);
    terms.forEach((term, i) => {
      const at = producers.get(term)!;
      nodes[at] = writeInto(nodes[at]!, term, state, i === 0 ? 'after_first' : 'always');
    });
  }
  return { ...builder.build(), nodes: nodes.filter((node) => node !== null) };
}

/** The terms of a tree of adds, whose nodes are removed. */
function sumTerms(
  graph: Graph,
  nodes: (Node | null)[],
  producers: Map<number, number>,
  id: number,
): number[] {
  const at = producers.get(id)!;
  const node = nodes[at];
  if (node?.op !== 'add' || node.phase !== 'backward') return [id];
  nodes[at] = null;
  return node.inputs.flatMap((input) => sumTerms(graph, nodes, producers, input));
}

function writeInto(node: Node, term: number, state: Value, accumulate: 'after_first' | 'always'): Node {
  const index = node.outputs.indexOf(term);
  if (index < 0 || !opOf(node.op).accumulates?.(node.attrs).includes(index)) {
    throw new GraphError(
      `${state.name}: its term made by ${node.op} cannot be accumulated; used twice, or an op without that form`,
    );
  }
  const before = node.attrs.accumulate;
  if (before !== 'never' && before !== accumulate) {
    throw new GraphError(
      `${node.op} would have to both overwrite and add on a step's first micro-batch (for ${state.name})`,
    );
  }
  return {
    ...node,
    outputs: node.outputs.map((id) => (id === term ? state.id : id)),
    attrs: { ...node.attrs, accumulate },
  };
}
