/**
 * Mixed precision, on the forward graph: autodiff then gives each gradient the dtype of its value. In bf16 the matrix
 * products round their factors to bfloat16 and activations are stored in it; the residual stream, statistics, losses
 * and every sum inside an op stay float32, as do values of one axis: parts of a loss, of the step or of each token. Trained
 * parameters are float32 masters; frozen ones keep their file's dtype.
 */
import type { Graph, Node, Value } from '../ir/graph.js';
import { opOf } from '../ops/registry.js';

export type Precision = 'f32' | 'bf16';

/** Values that stay float32 in every precision, by name. */
export interface Float32Values {
  /** Stored in float32; a product that makes one computes as all others do. */
  readonly stored: ReadonlySet<string>;
  /** Computed in float32 too, such as a router's scores, and therefore stored in it. */
  readonly computed: ReadonlySet<string>;
}

const none: Float32Values = { stored: new Set(), computed: new Set() };

/** Decides dtypes of values, and the arithmetic (`compute`) of every op with matrix products. */
export function setPrecision(graph: Graph, precision: Precision, float32: Float32Values = none): Graph {
  const keeps = (id: number, set: ReadonlySet<string>) => set.has(graph.values[id]!.name);
  const computeOf = (node: Node): Precision =>
    node.outputs.some((id) => keeps(id, float32.computed)) ? 'f32' : precision;
  const bf16Values = new Set<number>();
  for (const node of graph.nodes) {
    if (computeOf(node) === 'f32') continue;
    const always = opOf(node.op).float32 ?? [];
    node.outputs.forEach((id, i) => {
      const isList = graph.values[id]!.axes.length === 1;
      if (!always.includes(i) && !isList && !keeps(id, float32.stored)) bf16Values.add(id);
    });
  }
  const dtypeOf = (value: Value): Value['dtype'] => {
    if (value.kind === 'param') return value.role === 'trained' ? 'f32' : value.dtype;
    return bf16Values.has(value.id) ? 'bf16' : value.dtype;
  };
  return {
    ...graph,
    values: graph.values.map((value) => ({ ...value, dtype: dtypeOf(value) })),
    nodes: graph.nodes.map((node) =>
      opOf(node.op).computes ? { ...node, attrs: { ...node.attrs, compute: computeOf(node) } } : node,
    ),
  };
}
