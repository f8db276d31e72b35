/**
 * Reverse-mode differentiation, graph to graph: appends the backward nodes and declares an output `grad:<name>` for
 * each trainable parameter that the loss depends on. Work is done only for values that a trainable parameter feeds:
 * a frozen parameter costs no gradient, and nothing flows to layers below the lowest trained one.
 */
import { GraphBuilder } from '../builder/builder.js';
import { GraphError } from '../ir/error.js';
import type { Graph, Value } from '../ir/graph.js';
import { getValue, outputOf } from '../ir/graph.js';
import { times } from '../ops/arithmetic.js';
import type { Emit, Op, OpCall } from '../ops/op.js';
import { opOf } from '../ops/registry.js';
import { removeDeadCode } from './dead_code.js';

/** Differentiates output `loss` of `graph`, an f32 [1]. */
export function autodiff(graph: Graph): Graph {
  const loss = outputOf(graph, 'loss');
  const needs = valuesThatNeedGradients(graph);
  if (!needs.has(loss.id)) {
    throw new GraphError(
      `graph ${graph.name}: the loss depends on no trainable parameter; nothing would be trained`,
    );
  }
  const builder = GraphBuilder.from(graph);
  const homes = new Map(
    graph.nodes.flatMap(({ outputs, scope }) => outputs.map((id) => [id, scope] as const)),
  );
  const contributions = new Map<number, { grad: Value; scope: string }[]>();
  const contribute = (id: number, grad: Value, scope: string) => {
    const list = contributions.get(id);
    if (list === undefined) contributions.set(id, [{ grad, scope }]);
    else list.push({ grad, scope });
  };

  /** The gradient of a value whose consumers have all been seen: the sum of what they contributed. */
  const gradientOf = (id: number): Value | null => {
    const list = contributions.get(id);
    if (list === undefined) return null;
    let sum = list[0]!.grad;
    for (const { grad, scope } of list.slice(1)) {
      const value = getValue(graph, id);
      const options = {
        names: [`d(${localName(value, homes.get(id) ?? '')})`],
        dtypes: [value.kind === 'param' ? ('f32' as const) : value.dtype],
      };
      sum = builder.scope(scope, () => builder.emit('add', [sum, grad], {}, options)[0]!);
    }
    contributions.set(id, [{ grad: sum, scope: '' }]);
    return sum;
  };

  builder.phase('backward', () => {
    const [seed] = builder.emit('fill', [], { value: 1, axes: '1' }, { names: ['d(loss)'] }) as [Value];
    contribute(loss.id, seed, '');
    for (const node of graph.nodes.toReversed()) {
      const inputNeeds = node.inputs.map((id) => needs.has(id));
      if (!inputNeeds.includes(true)) continue;
      const grads = node.outputs.map(gradientOf);
      if (grads.every((grad) => grad === null)) continue;
      const call = {
        inputs: node.inputs.map((id) => getValue(graph, id)),
        outputs: node.outputs.map((id) => getValue(graph, id)),
        attrs: node.attrs,
      };
      const firstNew = builder.size;
      const inputGrads = builder.scope(node.scope, () =>
        differentiate(builder.emit, opOf(node.op), call, grads, inputNeeds, seed),
      );
      inputGrads.forEach((grad, i) => {
        if (grad === null || !inputNeeds[i]) return;
        // Not where the gradient is dy itself, passed on.
        if (grad.id >= firstNew) builder.rename(grad, `d(${call.inputs[i]!.name})`);
        contribute(node.inputs[i]!, grad, node.scope);
      });
    }
    for (const value of graph.values) {
      if (value.kind !== 'param' || value.role !== 'trained') continue;
      const grad = gradientOf(value.id);
      if (grad !== null) builder.output(`grad:${value.name}`, grad);
    }
  });
  return removeDeadCode(builder.build());
}

/**
 * Returns the gradients of a node's inputs. An op with a weight makes them for a gradient of 1, and its output is proportional to
 * the weight: any other gradient multiplies the weight, and the weight's own gradient is the output with `grad` as the weight.
 */
function differentiate(
  emit: Emit,
  op: Op,
  call: OpCall,
  grads: readonly (Value | null)[],
  needs: readonly boolean[],
  seed: Value,
): (Value | null)[] {
  if (op.vjp === undefined) throw new GraphError(`op ${op.name} has no gradient`);
  const { weightInput } = op;
  if (weightInput === undefined) return op.vjp(emit, call, grads, needs);
  const grad = grads[0]!;
  const withWeight = (weight: Value) => call.inputs.with(weightInput, weight);
  const inputs =
    grad.id === seed.id ? call.inputs : withWeight(times(emit, [call.inputs[weightInput]!, grad]));
  const inputGrads = op.vjp(emit, { ...call, inputs }, grads, needs);
  return needs[weightInput]
    ? inputGrads.with(weightInput, emit(op.name, withWeight(grad), call.attrs)[0]!)
    : inputGrads;
}

/** A value's name without the scope of the node that makes it, which the builder puts before every name. */
const localName = ({ name }: Value, scope: string): string =>
  scope !== '' && name.startsWith(`${scope}.`) ? name.slice(scope.length + 1) : name;

/** Returns the ids of the trained parameters and of all that they feed. */
export function valuesThatNeedGradients(graph: Graph): Set<number> {
  const needs = new Set(
    graph.values
      .filter((value) => value.kind === 'param' && value.role === 'trained')
      .map((value) => value.id),
  );
  for (const node of graph.nodes) {
    if (!node.inputs.some((id) => needs.has(id))) continue;
    for (const id of node.outputs) needs.add(id);
  }
  return needs;
}
