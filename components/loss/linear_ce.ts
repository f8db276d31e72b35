/**
 * Head and cross-entropy in one op, a chunk of rows at a time, gradients included: the logits never exist as a whole, and
 * nothing is added to the model's own memory.
 */
import { z } from 'zod';
import { chunkRows } from '../../graph/index.js';
import type { LossDefinition } from './definition.js';

export const linearCe: LossDefinition = {
  name: 'linear_ce',
  schema: z.strictObject({ name: z.literal('linear_ce') }),
  graph: () => ({
    append(builder, { hidden, head, labels, weight }) {
      const attrs = {
        compute: 'f32',
        dx: false,
        dw: false,
        chunk_rows: chunkRows(hidden.shape[0]!, head.shape[0]!),
        accumulate: 'never',
      };
      const inputs = [hidden, head, labels, weight];
      return builder.emit('linear_cross_entropy', inputs, attrs, { names: ['loss'] })[0]!;
    },
    float32: [],
  }),
};
