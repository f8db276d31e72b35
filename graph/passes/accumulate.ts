/**
 * Gradient accumulation: gives each gradient, and the loss, a tensor of the context that micro-batches add to. The op
 * that makes a gradient adds to it directly (`accumulate`), so no pass over memory is spent on the sum; what is made by
 * an op without that form, or read elsewhere too, is added by a node of its own. Of several nodes that add to one tensor
 * the first overwrites on a step's first micro-batch, and the others always add.
 */
import { GraphBuilder } from '../builder/builder.js';
import type { Graph, Node, Value } from '../ir/graph.js';
import { elements, getValue } from '../ir/graph.js';
import { opOf } from '../ops/registry.js';
import { countUses } from './liveness.js';
import { findSum, indexMakers } from './sums.js';

/** The context's tensor that a step's loss is summed in. */
export const lossState = 'stat:loss';

/** A summand of a gradient or of the loss. */
interface Term {
  readonly id: number;
  /** Index of the node that makes it; -1 where none does, as for a parameter that is a part of the loss. */
  readonly at: number;
}

interface AccumulatedSum {
  readonly state: Value;
  readonly terms: readonly Term[];
}

type Mode = 'after_first' | 'always';

/** Turns the outputs `loss` and `grad:<name>` into states `stat:loss` and `grad:<name>`, accumulated over micro-batches. */
export function accumulateGradients(graph: Graph): Graph {
  const builder = GraphBuilder.withValuesOf({ ...graph, outputs: {} });
  const uses = countUses(graph);
  const { sums, swallowed } = sumsOfOutputs(graph, builder, uses);
  const modes = modesOfMakers(graph, sums, uses);
  const states = new Map<number, number>();
  const nodesAfter = new Map<number, Node[]>();
  for (const { state, terms } of sums) {
    const [direct, others] = inOrder(terms, modes);
    for (const { id } of direct) states.set(id, state.id);
    let at = direct.at(-1)?.at ?? -1;
    others.forEach((term, i) => {
      at = Math.max(at, term.at);
      const mode: Mode = direct.length + i === 0 ? 'after_first' : 'always';
      const { scope, phase } = graph.nodes[term.at] ?? { scope: '', phase: 'forward' };
      const attrs = { accumulate: mode };
      const node: Node = { op: 'accumulate', inputs: [term.id], outputs: [state.id], attrs, scope, phase };
      nodesAfter.set(at, [...(nodesAfter.get(at) ?? []), node]);
    });
  }
  const nodes = [...(nodesAfter.get(-1) ?? [])];
  graph.nodes.forEach((node, at) => {
    const accumulate = modes.get(at);
    if (accumulate !== undefined) {
      const outputs = node.outputs.map((id) => states.get(id) ?? id);
      nodes.push({ ...node, outputs, attrs: { ...node.attrs, accumulate } });
    } else if (!swallowed.has(at)) nodes.push(node);
    nodes.push(...(nodesAfter.get(at) ?? []));
  });
  return { ...builder.build(), nodes };
}

function sumsOfOutputs(
  graph: Graph,
  builder: GraphBuilder,
  uses: ReadonlyMap<number, number>,
): { sums: AccumulatedSum[]; swallowed: Set<number> } {
  const makers = indexMakers(graph);
  const swallowed = new Set<number>();
  const sums = Object.entries(graph.outputs).map(([name, id]) => {
    const { axes, layout } = getValue(graph, id);
    const [tensor, role] =
      name === 'loss' ? ([lossState, 'statistic'] as const) : ([name, 'gradient'] as const);
    const state = builder.state(tensor, role, 'f32', axes.join(' '), layout);
    const { terms, adds } = findSum(graph, id, makers, uses);
    for (const at of adds) swallowed.add(at);
    const termsWithMakers = terms.map((term) => ({ id: term, at: makers.get(term) ?? -1 }));
    return { state, terms: termsWithMakers.sort((a, b) => a.at - b.at) };
  });
  return { sums, swallowed };
}

/**
 * Returns how the nodes accumulate that add to the states themselves. All that such a node adds to is added to in one
 * way, so it can only where each such output is a term, read by nobody else, and has the same place in its sum.
 */
function modesOfMakers(
  graph: Graph,
  sums: readonly AccumulatedSum[],
  uses: ReadonlyMap<number, number>,
): Map<number, Mode> {
  const terms = new Set(sums.flatMap((sum) => sum.terms.map(({ id }) => id)));
  const makers = new Map<number, Mode>();
  for (const { at } of sums.flatMap((sum) => sum.terms)) {
    const node = graph.nodes[at];
    if (node === undefined) continue;
    const { op, attrs, outputs } = node;
    const adding = opOf(op).accumulates?.(attrs) ?? [];
    const isWhole = adding.every((i) => terms.has(outputs[i]!) && uses.get(outputs[i]!) === 1);
    const isTerm = outputs.every((id, i) => adding.includes(i) || !terms.has(id));
    if (adding.length > 0 && isWhole && isTerm) makers.set(at, 'always');
  }
  // The largest first: where the loss and a gradient disagree, a part of the loss is what is added by a node of its own.
  const bySize = [...sums].sort((a, b) => elements(b.state.shape) - elements(a.state.shape));
  for (;;) {
    const conflict = setFirst(bySize, makers);
    if (conflict === null) return makers;
    makers.delete(conflict);
  }
}

/**
 * Lets the first maker of each sum overwrite. Returns the maker to give up where another would have to overwrite one tensor
 * and add to another: the one before it in this sum, or itself where it is the first.
 */
function setFirst(sums: readonly AccumulatedSum[], makers: Map<number, Mode>): number | null {
  const firstModes = new Map<number, Mode>();
  for (const { terms } of sums) {
    const direct = inOrder(terms, makers)[0];
    for (const [i, { at }] of direct.entries()) {
      const mode = i === 0 ? 'after_first' : 'always';
      if ((firstModes.get(at) ?? mode) !== mode) return direct[0]!.at;
      firstModes.set(at, mode);
    }
  }
  for (const [at, mode] of firstModes) makers.set(at, mode);
  return null;
}

/** Terms that their makers add themselves, which go first, and the others. */
function inOrder(terms: readonly Term[], makers: ReadonlyMap<number, Mode>): [Term[], Term[]] {
  return [terms.filter(({ at }) => makers.has(at)), terms.filter(({ at }) => !makers.has(at))];
}
