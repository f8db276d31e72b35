/**
 * Cross-entropy of logits [T, V] in float32, all rows at once: 4·T·V bytes in addition to the model's own memory. Where
 * a label is negative, a place is masked.
 */
import { z } from 'zod';
import { appendLogitsLoss } from './chunked_ce.js';
import type { LossDefinition } from './definition.js';

export const maskedCe: LossDefinition = {
  name: 'masked_ce',
  schema: z.strictObject({ name: z.literal('masked_ce') }),
  graph: () => ({ append: appendLogitsLoss, float32: ['logits'] }),
};
