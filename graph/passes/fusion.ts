/**
 * Fusion: makes fewer passes over memory by giving a sum to the op that made one of its terms.
 * - A loss and its gradient become one record.
 * - A sum of matrix products becomes one matmul with several products; any other term becomes its residual. So the
 *   residual connection, and the gradient of an input that q, k, v and their adapters share, are one record each.
 * - A sum with rmsnorm_grad becomes its residual.
 */
import type { Attrs, Graph, Node } from '../graph.js';
import type { MatmulParts } from '../ops/matmul.js';
import { matmulCall, matmulParts } from '../ops/matmul.js';
import { flag } from '../ops/op.js';
import { removeDeadCode } from './dead_code.js';

export function fuse(graph: Graph): Graph {
  return removeDeadCode(fuseSums(mergeLossWithGradient(graph)));
}

const lossOps = new Set(['cross_entropy', 'linear_cross_entropy']);

/** The forward-only loss gives way to the record that makes the gradients, and the loss with them. */
function mergeLossWithGradient(graph: Graph): Graph {
  const key = (node: Node) => `${node.op}(${node.inputs.join(',')})`;
  const losses = graph.nodes.filter((node) => lossOps.has(node.op));
  const withGradient = new Map(
    losses.filter((node) => node.outputs.length > 1).map((node) => [key(node), node]),
  );
  const replaced = new Map<number, number>();
  for (const node of losses) {
    const other = withGradient.get(key(node));
    if (other !== undefined && other !== node) replaced.set(node.outputs[0]!, other.outputs[0]!);
  }
  const now = (id: number) => replaced.get(id) ?? id;
  return {
    ...graph,
    nodes: graph.nodes
      .filter((node) => !lossOps.has(node.op) || !replaced.has(node.outputs[0]!))
      .map((node) => ({ ...node, inputs: node.inputs.map(now) })),
    outputs: Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, now(id)])),
  };
}

/** Folds each `add` into the op that made one of its terms, where nobody else reads that term. */
function fuseSums(graph: Graph): Graph {
  const uses = countUses(graph);
  const producer = new Map<number, { node: Node; at: number }>();
  const nodes: (Node | null)[] = [...graph.nodes];
  graph.nodes.forEach((original, at) => {
    const term = (id: number) => {
      const made = producer.get(id);
      return made !== undefined && uses.get(id) === 1 ? made : null;
    };
    let node = original;
    if (node.op === 'add' && node.inputs[0] !== node.inputs[1]) {
      const [a, b] = node.inputs.map(term) as [ReturnType<typeof term>, ReturnType<typeof term>];
      const fused = fuseSum(node, a?.node ?? null, b?.node ?? null);
      if (fused !== null) {
        if (fused.uses.a) nodes[a!.at] = null;
        if (fused.uses.b) nodes[b!.at] = null;
        node = {
          ...original,
          op: fused.op,
          inputs: fused.inputs,
          outputs: [...fused.firstOutputs, ...fused.otherOutputs],
          attrs: fused.attrs,
        };
        nodes[at] = node;
      }
    }
    for (const id of node.outputs) producer.set(id, { node, at });
  });
  return { ...graph, nodes: nodes.filter((node) => node !== null) };
}

interface FusedSum {
  op: string;
  inputs: readonly number[];
  attrs: Attrs;
  /** The output that becomes the sum, and those of the swallowed node that stay. */
  firstOutputs: readonly number[];
  otherOutputs: readonly number[];
  /** Which producers are swallowed. */
  uses: { a: boolean; b: boolean };
}

/** add(a, b) as one node, given the nodes that made a and b where they may be swallowed. */
function fuseSum(sum: Node, a: Node | null, b: Node | null): FusedSum | null {
  const partsA = a?.op === 'matmul' ? matmulParts(a.inputs, a.attrs) : null;
  const partsB = b?.op === 'matmul' ? matmulParts(b.inputs, b.attrs) : null;
  const asMatmul = (parts: MatmulParts<number>, like: Node, uses: FusedSum['uses']): FusedSum => ({
    op: 'matmul',
    ...matmulCall(parts, String(like.attrs.compute)),
    firstOutputs: sum.outputs,
    otherOutputs: [],
    uses,
  });
  if (
    partsA !== null &&
    partsB !== null &&
    compatible(partsA, partsB) &&
    a!.attrs.compute === b!.attrs.compute
  ) {
    const products = [...partsA.products, ...partsB.products];
    const parts = {
      products,
      bias: partsA.bias ?? partsB.bias,
      residual: partsA.residual ?? partsB.residual,
    };
    return asMatmul(parts, a!, { a: true, b: true });
  }
  const [first, second] = sum.inputs as [number, number];
  if (partsB !== null && partsB.residual === null)
    return asMatmul({ ...partsB, residual: first }, b!, { a: false, b: true });
  if (partsA !== null && partsA.residual === null)
    return asMatmul({ ...partsA, residual: second }, a!, { a: true, b: false });
  if (isPlainNormGradient(b, second)) return asNormGradient(sum, b, first, { a: false, b: true });
  if (isPlainNormGradient(a, first)) return asNormGradient(sum, a, second, { a: true, b: false });
  return null;
}

const compatible = (a: MatmulParts<number>, b: MatmulParts<number>): boolean =>
  (a.bias === null || b.bias === null) && (a.residual === null || b.residual === null);

/** Whether `id` is the dx of an rmsnorm_grad that has no residual yet. */
function isPlainNormGradient(node: Node | null, id: number): node is Node {
  return node?.op === 'rmsnorm_grad' && !flag(node.attrs, 'residual') && node.outputs[0] === id;
}

const asNormGradient = (sum: Node, node: Node, residual: number, uses: FusedSum['uses']): FusedSum => ({
  op: 'rmsnorm_grad',
  inputs: [...node.inputs, residual],
  attrs: { ...node.attrs, residual: true },
  firstOutputs: sum.outputs,
  otherOutputs: node.outputs.slice(1),
  uses,
});

function countUses(graph: Graph): Map<number, number> {
  const uses = new Map<number, number>();
  const use = (id: number) => uses.set(id, (uses.get(id) ?? 0) + 1);
  for (const node of graph.nodes) node.inputs.forEach(use);
  Object.values(graph.outputs).forEach(use);
  return uses;
}
