/**
 * Activation recomputation (Chen et al. 2016): the backward pass of a decoder layer computes again what it needs of the
 * layer's forward pass, instead of keeping it. In a layer that is recomputed in full only the layer's input is kept;
 * where it is cheap, only what costs little compared with a matrix product is computed again (Korthikanti et al. 2022), and
 * only where that saves memory. Dropout draws the same mask again, because its mask is a function of its counter.
 */
import { GraphBuilder } from '../builder/builder.js';
import type { Graph, Node } from '../ir/graph.js';
import { getValue } from '../ir/graph.js';
import { opOf } from '../ops/registry.js';

export interface RecomputeChoice {
  /** Scopes of layers whose whole forward pass is computed again. */
  readonly full: ReadonlySet<string>;
  /** Scopes of layers whose cheap ops are computed again. */
  readonly cheap: ReadonlySet<string>;
}

/** Returns the scopes of the graph's layers, in order of first use. */
export function layerScopes(graph: Graph): string[] {
  const scopes = new Set(graph.nodes.map((node) => node.scope));
  scopes.delete('');
  return [...scopes];
}

/** Adds the recomputation to a graph with its backward pass. */
export function recompute(graph: Graph, choice: RecomputeChoice): Graph {
  if (choice.full.size === 0 && choice.cheap.size === 0) return graph;
  const repeatable = repeatableNodes(graph, choice);
  const layers = nodesByScope(graph);
  const builder = GraphBuilder.withValuesOf(graph);
  const copies = new Map<number, number>();
  const openedScopes = new Set<string>();
  for (const node of graph.nodes) {
    if (node.phase === 'backward' && node.scope !== '' && !openedScopes.has(node.scope)) {
      openedScopes.add(node.scope);
      for (const original of neededCopies(layers.get(node.scope)!, repeatable))
        copyNode(builder, graph, original, copies);
    }
    const readsCopy = node.phase === 'backward' && node.inputs.some((id) => copies.has(id));
    builder.appendNode(readsCopy ? { ...node, inputs: node.inputs.map((id) => copies.get(id) ?? id) } : node);
  }
  return builder.build();
}

function copyNode(builder: GraphBuilder, graph: Graph, node: Node, copies: Map<number, number>): void {
  const inputs = node.inputs.map((id) => copies.get(id) ?? id);
  const outputs = node.outputs.map(
    (id) => builder.clone(getValue(graph, id), `${getValue(graph, id).name}.again`).id,
  );
  builder.appendNode({ ...node, inputs, outputs, phase: 'recompute' });
  node.outputs.forEach((id, i) => {
    copies.set(id, outputs[i]!);
  });
}

/** Forward nodes that may be computed again, by output value. What a later layer reads forward is kept instead. */
function repeatableNodes(graph: Graph, choice: RecomputeChoice): Map<number, Node> {
  const readBackward = new Set<number>();
  const crossing = new Set<number>();
  const home = new Map<number, string>();
  for (const node of graph.nodes) {
    for (const id of node.outputs) home.set(id, node.scope);
    for (const id of node.inputs) {
      if (node.phase === 'backward') readBackward.add(id);
      else if (home.get(id) !== node.scope) crossing.add(id);
    }
  }
  const repeatable = new Map<number, Node>();
  for (const node of graph.nodes) {
    if (node.phase !== 'forward' || node.scope === '') continue;
    if (node.outputs.some((id) => crossing.has(id) || getValue(graph, id).kind !== 'intermediate')) continue;
    const isKept = (id: number) =>
      getValue(graph, id).kind !== 'intermediate' || readBackward.has(id) || crossing.has(id);
    const worth =
      choice.cheap.has(node.scope) &&
      opOf(node.op).cheap === true &&
      node.inputs.every((id) => isKept(id) || repeatable.has(id));
    if (choice.full.has(node.scope) || worth) for (const id of node.outputs) repeatable.set(id, node);
  }
  return repeatable;
}

function nodesByScope(graph: Graph): Map<string, Node[]> {
  const layers = new Map<string, Node[]>();
  for (const node of graph.nodes) {
    const layer = layers.get(node.scope);
    if (layer === undefined) layers.set(node.scope, [node]);
    else layer.push(node);
  }
  return layers;
}

/** Returns the nodes of `layer` that its backward pass needs again, in forward order. */
function neededCopies(layer: readonly Node[], repeatable: ReadonlyMap<number, Node>): Node[] {
  const needed = new Set<Node>();
  const demand = (id: number) => {
    const node = repeatable.get(id);
    if (node === undefined || node.scope !== layer[0]!.scope || needed.has(node)) return;
    needed.add(node);
    node.inputs.forEach(demand);
  };
  for (const node of layer) if (node.phase === 'backward') node.inputs.forEach(demand);
  return layer.filter((node) => needed.has(node));
}
