/** Ends a language model's graph, which declares `hidden` [T, D] and `head` [V, D], in a loss or in log-probabilities. */
import { GraphBuilder } from '../builder/builder.js';
import type { Graph, Value } from '../ir/graph.js';
import { outputOf } from '../ir/graph.js';

/** What a loss is computed from. */
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
  /** Appends the loss. Returns its value, f32 [1], already multiplied by `weight`. */
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

/** Replaces `hidden` and `head` by the output `loss`; adds the inputs `labels` i32 [T] and `weight` f32 [1]. */
export function attachLoss(graph: Graph, rule: LossRule): Graph {
  const builder = GraphBuilder.from(graph);
  const hidden = outputOf(graph, 'hidden');
  const head = outputOf(graph, 'head');
  const labels = builder.input('labels', 'i32', hidden.axes[0]!);
  const weight = builder.input('weight', 'f32', '1');
  const loss = rule.append(builder, { hidden, head, labels, weight });
  return withOutputs(builder, { loss: loss.id });
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
