/**
 * The reference interpreter of graphs, in float64. Gradients are checked against finite differences here; plans and native
 * kernels are checked against `interpret_plan.ts`.
 */

import { GraphError } from './ir/error.js';
import type { Graph } from './ir/graph.js';
import { elements, getValue } from './ir/graph.js';
import { type ExecuteMode, execute, roundStored, type Tensors } from './ops/execute.js';
import type { Tensor } from './ops/op.js';
import { opOf } from './ops/registry.js';

/**
 * Executes the nodes of `graph`. `feeds` has inputs, parameters, constants and state by name; state that is missing
 * starts at zero. Returns every value by name, state and updated parameters included; `feeds` is left as it is.
 */
export function interpret(
  graph: Graph,
  feeds: Readonly<Record<string, ArrayLike<number>>>,
  options: Partial<ExecuteMode> = {},
): Tensors {
  const mode: ExecuteMode = { first: options.first ?? false, rounding: options.rounding ?? false };
  const store = new Map<number, Tensor>();
  for (const value of graph.values) {
    const data = feeds[value.name];
    if (data !== undefined && data.length !== elements(value.shape)) {
      throw new GraphError(`${value.name}: fed ${data.length} elements for [${value.shape.join(', ')}]`);
    }
    if (data !== undefined) store.set(value.id, { shape: value.shape, data: Float64Array.from(data) });
    else if (value.kind === 'state')
      store.set(value.id, { shape: value.shape, data: new Float64Array(elements(value.shape)) });
  }
  const read = (id: number): Tensor => {
    const tensor = store.get(id);
    if (tensor === undefined) throw new GraphError(`${getValue(graph, id).name} has no value: feed it`);
    return tensor;
  };
  for (const node of graph.nodes) {
    const outputs = node.outputs.map((id) => getValue(graph, id));
    const before = outputs.map(
      ({ id, shape }) => store.get(id) ?? { shape, data: new Float64Array(elements(shape)) },
    );
    const results = execute(opOf(node.op), node.attrs, node.inputs.map(read), before, mode);
    outputs.forEach(({ id, shape, dtype }, i) => {
      store.set(id, { shape, data: roundStored(results[i]!, dtype, mode) });
    });
  }
  return Object.fromEntries([...store].map(([id, tensor]) => [getValue(graph, id).name, tensor.data]));
}
