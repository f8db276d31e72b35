import { z } from 'zod';

/**
 * How the loss over the vocabulary is computed; the three agree to rounding.
 * - `masked_ce`: float32 logits of the whole micro-batch, then cross-entropy.
 * - `chunked_ce`: logits in the activation dtype, cross-entropy in chunks of rows.
 * - `linear_ce`: head and cross-entropy fused in chunks; the full logits never exist.
 */
export const lossSchema = z
  .enum(['masked_ce', 'chunked_ce', 'linear_ce'])
  .describe('masked_ce and chunked_ce hold the logits; linear_ce never does');
export type Loss = z.infer<typeof lossSchema>;
