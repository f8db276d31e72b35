/**
 * Cross-entropy of logits [T, V] in the activations' dtype, the softmax of a chunk of rows at a time: 2·T·V bytes in
 * bf16 in addition to the model's own memory.
 */
import { z } from 'zod';
import type { LossRule } from '../../graph/index.js';
import type { LossDefinition } from './definition.js';

export const chunkedCe: LossDefinition = {
  name: 'chunked_ce',
  schema: z.strictObject({ name: z.literal('chunked_ce') }),
  graph: () => ({ append: appendLogitsLoss, float32: [] }),
};

/** Writes the logits, called `logits`, and their cross-entropy. */
export const appendLogitsLoss: LossRule['append'] = (builder, { hidden, head, labels, weight }) => {
  const logits = builder.linear('logits', hidden, head);
  return builder.crossEntropy('loss', logits, labels, weight);
};
