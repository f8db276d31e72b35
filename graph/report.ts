/** Reports the cost of a plan: memory by role, floating-point operations by phase, bytes moved. */
import type { Graph, Node, Phase, TensorRole } from './ir/graph.js';
import { elements, getValue, tensorValues } from './ir/graph.js';
import type { DType } from './ir/plan.js';
import { dtypeBytes } from './ir/plan.js';
import { opOf } from './ops/registry.js';
import { arenaSize } from './passes/liveness.js';
import type { AssembledPlan } from './passes/plan.js';

/** A tensor that the context must have before a plan is loaded. */
export interface TensorSpec {
  readonly name: string;
  readonly role: TensorRole;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

export interface MemoryReport {
  /** Bytes by role of the context's tensors. */
  readonly frozen: number;
  readonly trained: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly constants: number;
  /** The plan's arena: activations and everything else between records, and what is on its way from and to slots. */
  readonly arena: number;
  /** Most bytes alive at one record, and those of slots under way: no arena for this order can be smaller. */
  readonly arenaLowerBound: number;
  /** Activations that the forward pass of one layer keeps for its backward pass; the largest layer. */
  readonly activationsPerLayer: number;
  /** Everything above that exists at one time. The engine's workspace, which it computes itself, comes on top. */
  readonly total: number;
}

export interface WorkReport {
  /** Floating-point operations of one micro-batch, by what they are for. */
  readonly forward: number;
  readonly recompute: number;
  readonly backward: number;
  /** Floating-point operations of one optimizer step: norm and update. */
  readonly optimizer: number;
  /** Bytes read and written: by one micro-batch, and by one optimizer step. */
  readonly microBytes: number;
  readonly optimizerBytes: number;
}

/** The tensors a scheduled graph reads or writes in the context, in the order of its values. */
export function tensorsOf(graph: Graph): TensorSpec[] {
  return tensorValues(graph).map(({ name, role, dtype, shape }) => ({ name, role: role!, dtype, shape }));
}

/** Bytes of the context's tensors, by role. */
export function bytesByRole(graph: Graph): Record<TensorRole, number> {
  const bytes = { frozen: 0, trained: 0, gradient: 0, optimizer: 0, statistic: 0, constant: 0 };
  for (const { role, shape, dtype } of tensorsOf(graph)) bytes[role] += elements(shape) * dtypeBytes[dtype];
  return bytes;
}

export function memoryReport(graph: Graph, assembled: AssembledPlan): MemoryReport {
  const bytes = bytesByRole(graph);
  const arena = assembled.plan.arenaBytes;
  return {
    frozen: bytes.frozen,
    trained: bytes.trained,
    gradients: bytes.gradient,
    optimizer: bytes.optimizer,
    constants: bytes.constant,
    arena,
    arenaLowerBound: assembled.arenaLowerBound,
    activationsPerLayer: activationsPerLayer(graph, assembled.plan.alignment),
    total: Object.values(bytes).reduce((sum, size) => sum + size, arena),
  };
}

/** Bytes that the forward nodes of a layer make and later backward or recomputed nodes read; the largest layer. */
function activationsPerLayer(graph: Graph, alignment: number): number {
  const readLater = new Set(
    graph.nodes.filter((node) => node.phase !== 'forward').flatMap((node) => node.inputs),
  );
  const perLayer = new Map<string, number>();
  for (const node of graph.nodes) {
    if (node.phase !== 'forward' || node.scope === '') continue;
    const bytes = node.outputs
      .filter((id) => readLater.has(id))
      .reduce((sum, id) => sum + arenaSize(getValue(graph, id), alignment), 0);
    perLayer.set(node.scope, (perLayer.get(node.scope) ?? 0) + bytes);
  }
  return Math.max(0, ...perLayer.values());
}

export function workReport(graph: Graph): WorkReport {
  const none: Record<Phase, number> = { forward: 0, recompute: 0, backward: 0, norm: 0, update: 0, copy: 0 };
  const [flops, bytes] = [{ ...none }, { ...none }];
  for (const node of graph.nodes) {
    const call = callOf(graph, node);
    const op = opOf(node.op);
    flops[node.phase] += op.flops(call, graph.axes);
    bytes[node.phase] +=
      op.bytes?.(call) ??
      [...call.inputs, ...call.outputs].reduce((sum, v) => sum + elements(v.shape) * dtypeBytes[v.dtype], 0);
  }
  return {
    forward: flops.forward,
    recompute: flops.recompute,
    backward: flops.backward,
    optimizer: flops.norm + flops.update,
    microBytes: bytes.forward + bytes.recompute + bytes.backward,
    optimizerBytes: bytes.norm + bytes.update,
  };
}

const callOf = (graph: Graph, node: Node) => ({
  inputs: node.inputs.map((id) => getValue(graph, id)),
  outputs: node.outputs.map((id) => getValue(graph, id)),
  attrs: node.attrs,
});
