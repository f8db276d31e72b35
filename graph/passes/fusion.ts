/**
 * Fusion: makes fewer passes over memory by giving a sum to the op that made one of its terms.
 * - A loss and its gradient become one record.
 * - A sum of matrix products becomes one matmul with several products; any other term becomes its residual. So the
 *   residual connection, and the gradient of an input that q, k, v and their adapters share, are one record each.
 * - A sum with rmsnorm_grad becomes its residual.
 */
import type { Graph, Node } from '../ir/graph.js';
import type { FusedCall } from '../ops/op.js';
import { opOf } from '../ops/registry.js';
import { removeDeadCode } from './dead_code.js';
import { countUses } from './liveness.js';
import { findSum, indexMakers } from './sums.js';

export function fuse(graph: Graph): Graph {
  return removeDeadCode(fuseSums(mergeLossWithGradient(graph)));
}

const isLoss = (node: Node): boolean => opOf(node.op).gradientFlags !== undefined;

/** The identity of a loss, whichever gradients it makes with it. */
function lossKey({ op, inputs, attrs }: Node): string {
  const flags = opOf(op).gradientFlags!;
  const options = Object.entries(attrs).filter(([name]) => !flags.includes(name));
  return JSON.stringify([op, inputs, options.sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/**
 * A loss without gradients is replaced by the record that makes its gradients, and the loss with them. That record is in the
 * backward pass, so nothing before it may read the loss, which is a term of an output of the graph and nothing else.
 */
function mergeLossWithGradient(graph: Graph): Graph {
  const losses = graph.nodes.filter(isLoss);
  const withGradient = new Map(
    losses.filter((node) => node.outputs.length > 1).map((node) => [lossKey(node), node]),
  );
  const [makers, uses] = [indexMakers(graph), countUses(graph)];
  const terms = new Set(Object.values(graph.outputs).flatMap((id) => findSum(graph, id, makers, uses).terms));
  const mergedLosses = new Map<number, number>();
  for (const node of losses) {
    const [loss, ...gradients] = node.outputs as [number, ...number[]];
    const merged = withGradient.get(lossKey(node));
    if (merged === undefined || gradients.length > 0 || !terms.has(loss) || uses.get(loss) !== 1) continue;
    mergedLosses.set(loss, merged.outputs[0]!);
  }
  if (mergedLosses.size === 0) return graph;
  const substitute = (id: number) => mergedLosses.get(id) ?? id;
  return {
    ...graph,
    nodes: graph.nodes
      .filter((node) => !isLoss(node) || !mergedLosses.has(node.outputs[0]!))
      .map((node) =>
        node.inputs.some((id) => mergedLosses.has(id))
          ? { ...node, inputs: node.inputs.map(substitute) }
          : node,
      ),
    outputs: Object.fromEntries(Object.entries(graph.outputs).map(([name, id]) => [name, substitute(id)])),
  };
}

/** Folds each `add` into the op that made one of its terms, where nobody else reads that term. */
function fuseSums(graph: Graph): Graph {
  const uses = countUses(graph);
  const producer = new Map<number, { node: Node; at: number }>();
  const nodes: (Node | null)[] = [...graph.nodes];
  graph.nodes.forEach((original, at) => {
    const term = (id: number) => {
      const makerOfTerm = producer.get(id);
      return makerOfTerm !== undefined && uses.get(id) === 1 ? makerOfTerm : null;
    };
    let node = original;
    if (node.op === 'add' && node.inputs[0] !== node.inputs[1]) {
      const [a, b] = node.inputs.map(term) as [ReturnType<typeof term>, ReturnType<typeof term>];
      const sum = fuseSum(node, a?.node ?? null, b?.node ?? null);
      if (sum !== null) {
        if (sum.uses.a) nodes[a!.at] = null;
        if (sum.uses.b) nodes[b!.at] = null;
        node = {
          ...original,
          op: sum.op,
          inputs: sum.inputs,
          outputs: [...sum.firstOutputs, ...sum.otherOutputs],
          attrs: sum.attrs,
        };
        nodes[at] = node;
      }
    }
    for (const id of node.outputs) producer.set(id, { node, at });
  });
  return { ...graph, nodes: nodes.filter((node) => node !== null) };
}

interface FusedSum extends FusedCall {
  op: string;
  /** The output that becomes the sum, and those of the swallowed node that stay. */
  firstOutputs: readonly number[];
  otherOutputs: readonly number[];
  /** Producers that are fused away. */
  uses: { a: boolean; b: boolean };
}

/** add(a, b) as one node, given the nodes that made a and b where they may be swallowed. */
function fuseSum(sum: Node, a: Node | null, b: Node | null): FusedSum | null {
  const [first, second] = sum.inputs as [number, number];
  const [termA, termB] = [absorbing(a, first), absorbing(b, second)];
  const fused = (node: Node, call: FusedCall | null | undefined, uses: FusedSum['uses']) =>
    call == null
      ? null
      : { op: node.op, ...call, firstOutputs: sum.outputs, otherOutputs: node.outputs.slice(1), uses };
  if (termA !== null && termA.op === termB?.op) {
    const both = fused(termA, opOf(termA.op).withSum?.(termA, termB), { a: true, b: true });
    if (both !== null) return both;
  }
  // A product rather than the gradient of a norm: the product's tile has the sum in registers.
  const candidates = [
    { node: termB, residual: first, uses: { a: false, b: true } },
    { node: termA, residual: second, uses: { a: true, b: false } },
  ].sort((x, y) => rank(x.node) - rank(y.node));
  for (const { node, residual, uses } of candidates) {
    if (node === null) continue;
    const one = fused(node, opOf(node.op).withResidual?.(node, residual), uses);
    if (one !== null) return one;
  }
  return null;
}

const rank = (node: Node | null): number => (node !== null && opOf(node.op).computes ? 0 : 1);

/** The node, where output 0 is the term and its op could add to it. */
const absorbing = (node: Node | null, term: number): Node | null =>
  node !== null && node.outputs[0] === term && opOf(node.op).withResidual !== undefined ? node : null;
