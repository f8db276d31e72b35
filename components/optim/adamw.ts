import { z } from 'zod';
import { decay, type OptimizerDefinition } from './definition.js';

const schema = z.strictObject({
  name: z.literal('adamw'),
  betas: z
    .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
    .default([0.9, 0.95])
    .describe('decay rates of the first and second moment'),
  eps: z.number().positive().default(1e-8).describe('added to the root of the second moment'),
  ...decay,
});

export const adamw: OptimizerDefinition<z.output<typeof schema>> = {
  name: 'adamw',
  op: 'adamw',
  schema,
  attributes: () => ({}),
  scalars: ({ betas: [beta1, beta2], eps }, step, lr) => ({
    lr,
    beta1,
    beta2,
    eps,
    // The moments start at zero and are divided by what they have seen so far.
    bias_correction1: 1 - beta1 ** step,
    bias_correction2: 1 - beta2 ** step,
  }),
};
