/** Ends a language model's graph, which declares `hidden` [T, D] and `head` [V, D], in a loss or in log-probabilities. */
import { GraphBuilder } from '../builder/builder.js';
import { GraphError } from '../ir/error.js';
import type { Graph, Value } from '../ir/graph.js';
import { getValue, outputOf, printValue } from '../ir/graph.js';
import { num } from '../ops/op.js';
import { opOf } from '../ops/registry.js';

/** The values that a loss is computed from. */
export interface LossInputs {
  /** [T, D], what the last layer gives. */
  readonly hidden: Value;
  /** [V, D], the output embedding. */
  readonly head: Value;
  /** i32 [T], the token to predict at each place; negative where none is. */
  readonly labels: Value;
  /** f32 [1], one over the number of labels of the step: the losses of its micro-batches add up to their mean. */
  readonly weight: Value;
}

/** A loss as the graph takes it: any scalar expression of ops that have a gradient. */
export interface LossRule {
  /** Appends the loss of a micro-batch. Returns its value, f32 [1]; a step's loss is the sum of those of its micro-batches. */
  append(builder: GraphBuilder, inputs: LossInputs): Value;
  /** Names of its values that stay float32 in every precision. */
  readonly float32: readonly string[];
}

/**
 * Rows of logits that exist at one time in the chunked forms: the weight is read once for each chunk, so as many as fit
 * 128 MiB in f32, and 256 where even they are more; in chunks of equal size.
 */
export function chunkRows(rows: number, vocabulary: number): number {
  const most = Math.max(256, Math.floor((128 * 2 ** 20) / (4 * vocabulary)));
  return Math.ceil(rows / Math.ceil(rows / most));
}

/**
 * Replaces `hidden` and `head` by the output `loss`; adds the inputs `labels` i32 [T] and `weight` f32 [1].
 *
 * @throws GraphError unless the rule gives an f32 [1]
 */
export function attachLoss(graph: Graph, rule: LossRule): Graph {
  const builder = GraphBuilder.from(graph);
  const hidden = outputOf(graph, 'hidden');
  const head = outputOf(graph, 'head');
  const labels = builder.input('labels', 'i32', hidden.axes[0]!);
  const weight = builder.input('weight', 'f32', '1');
  const loss = rule.append(builder, { hidden, head, labels, weight });
  if (loss.dtype !== 'f32' || loss.axes.join(' ') !== '1')
    throw new GraphError(`graph ${graph.name}: the loss is ${printValue(loss)}, and should be an f32 [1]`);
  return withOutputs(builder, { loss: writeAsSum(builder, loss).id });
}

/**
 * Rewrites a loss as a sum of its parts, Σ αᵢ · partᵢ. A part that has a weight takes its factor there, so that the op
 * that makes it can still make its gradient with it, and add to the step's loss.
 */
function writeAsSum(builder: GraphBuilder, loss: Value): Value {
  const graph = builder.build();
  const makers = new Map(graph.nodes.flatMap((node) => node.outputs.map((id) => [id, node] as const)));
  const factors = new Map<number, number>();
  const collect = (id: number, factor: number): void => {
    const node = makers.get(id);
    if (node?.op === 'add') for (const input of node.inputs) collect(input, factor);
    else if (node?.op === 'scale') collect(node.inputs[0]!, factor * num(node.attrs, 'alpha'));
    else factors.set(id, (factors.get(id) ?? 0) + factor);
  };
  collect(loss.id, 1);
  if (factors.size === 1 && factors.has(loss.id)) return loss;
  const parts = [...factors].map(([id, factor]) => {
    const part = getValue(graph, id);
    if (factor === 1) return part;
    const node = makers.get(id);
    const weightInput = node?.outputs[0] === id ? opOf(node.op).weightInput : undefined;
    if (node === undefined || weightInput === undefined)
      return builder.scale(`${part.name}.scaled`, part, factor);
    const inputs = node.inputs.map((input) => getValue(graph, input));
    inputs[weightInput] = builder.scale('weight.scaled', inputs[weightInput]!, factor);
    return builder.emit(node.op, inputs, node.attrs, { names: [`${part.name}.scaled`] })[0]!;
  });
  return parts.reduce((sum, part) => builder.add('loss.sum', sum, part));
}

/** Replaces `hidden` and `head` by the output `logprobs` f32 [T]; adds the input `targets` i32 [T]. */
export function attachLogprobs(graph: Graph): Graph {
  const builder = GraphBuilder.from(graph);
  const hidden = outputOf(graph, 'hidden');
  const head = outputOf(graph, 'head');
  const targets = builder.input('targets', 'i32', hidden.axes[0]!);
  const attrs = { compute: 'f32', chunk_rows: chunkRows(hidden.shape[0]!, head.shape[0]!) };
  const [logprobs] = builder.emit('linear_logprobs', [hidden, head, targets], attrs, {
    names: ['logprobs'],
  });
  return withOutputs(builder, { logprobs: logprobs!.id });
}

const withOutputs = (builder: GraphBuilder, outputs: Record<string, number>): Graph => ({
  ...builder.build(),
  outputs,
});
