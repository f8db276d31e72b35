/**
 * Ends a language model's graph, which declares `hidden` [T, D] and `head` [V, D], in a loss or in log-probabilities.
 *
 * | kind | logits | memory beside the model's own |
 * | --- | --- | --- |
 * | `masked_ce` | [T, V] in f32, all rows at once | 4·T·V bytes |
 * | `chunked_ce` | [T, V] in the activations' dtype, softmax a chunk of rows at a time | 2·T·V bytes in bf16 |
 * | `linear_ce` | never materialised: a chunk at a time inside one op, gradients included | none in the arena |
 */
import { GraphBuilder } from '../builder/builder.js';
import type { Graph } from '../ir/graph.js';
import { outputOf } from '../ir/graph.js';

export type LossKind = 'masked_ce' | 'chunked_ce' | 'linear_ce';

/**
 * Rows of logits that exist at one time in the chunked forms: the weight is read once for each chunk, so as many as fit
 * 128 MiB in f32, and 256 where even they are more; in chunks of equal size.
 */
export function chunkRows(rows: number, vocabulary: number): number {
  const most = Math.max(256, Math.floor((128 * 2 ** 20) / (4 * vocabulary)));
  return Math.ceil(rows / Math.ceil(rows / most));
}

/** The value name of materialised logits, which masked_ce keeps in float32. */
export const logitsName = 'logits';

/** Replaces `hidden` and `head` by the output `loss`; adds the inputs `labels` i32 [T] and `weight` f32 [1]. */
export function attachLoss(graph: Graph, kind: LossKind): Graph {
  const builder = GraphBuilder.from(graph);
  const hidden = outputOf(graph, 'hidden');
  const head = outputOf(graph, 'head');
  const labels = builder.input('labels', 'i32', hidden.axes[0]!);
  const weight = builder.input('weight', 'f32', '1');
  if (kind === 'linear_ce') {
    const attrs = {
      compute: 'f32',
      dx: false,
      dw: false,
      chunk_rows: chunkRows(hidden.shape[0]!, head.shape[0]!),
      accumulate: 'never',
    };
    const [loss] = builder.emit('linear_cross_entropy', [hidden, head, labels, weight], attrs, {
      names: ['loss'],
    });
    return withOutputs(builder, { loss: loss!.id });
  }
  const logits = builder.linear(logitsName, hidden, head);
  const attrs = { grad: false, accumulate: 'never' };
  const [loss] = builder.emit('cross_entropy', [logits, labels, weight], attrs, { names: ['loss'] });
  return withOutputs(builder, { loss: loss!.id });
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
