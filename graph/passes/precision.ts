/**
 * Mixed precision, on the forward graph: autodiff then gives each gradient the dtype of its value. In bf16 the matrix
 * products round their factors to bfloat16 and activations are stored in it; the residual stream, statistics, losses
 * and every sum inside an op stay float32. Trained parameters are float32 masters; frozen ones keep their file's dtype.
 */
import type { Graph, Value } from '../graph.js';
import { opOf } from '../ops/registry.js';

export type Precision = 'f32' | 'bf16';

const withCompute = new Set(['matmul', 'linear_cross_entropy', 'linear_logprobs']);

/** `keep`: names of values that stay float32 all the same. */
export function setPrecision(
  graph: Graph,
  precision: Precision,
  keep: ReadonlySet<string> = new Set(),
): Graph {
  const narrowed = new Set<number>();
  if (precision === 'bf16') {
    for (const node of graph.nodes) {
      const float32 = opOf(node.op).float32 ?? [];
      node.outputs.forEach((id, i) => {
        if (!float32.includes(i)) narrowed.add(id);
      });
    }
  }
  const dtypeOf = (value: Value): Value['dtype'] => {
    // Products read f32 and bf16; float16 weights are widened once, when they are loaded.
    if (value.kind === 'param') return value.trainable || value.dtype === 'f16' ? 'f32' : value.dtype;
    return narrowed.has(value.id) && !keep.has(value.name) ? 'bf16' : value.dtype;
  };
  return {
    ...graph,
    values: graph.values.map((value) => ({ ...value, dtype: dtypeOf(value) })),
    nodes: graph.nodes.map((node) =>
      withCompute.has(node.op) ? { ...node, attrs: { ...node.attrs, compute: precision } } : node,
    ),
  };
}
