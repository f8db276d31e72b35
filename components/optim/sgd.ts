import { z } from 'zod';
import { decay, type OptimizerDefinition } from './definition.js';

const schema = z.strictObject({
  name: z.literal('sgd'),
  momentum: z.number().min(0).lt(1).default(0).describe('momentum; 0 keeps no moments'),
  ...decay,
});

export const sgd: OptimizerDefinition<z.output<typeof schema>> = {
  name: 'sgd',
  op: 'sgd',
  schema,
  attributes: ({ momentum }) => ({ momentum: momentum > 0 }),
  // The momentum buffer starts as the first step's gradient, not as zero.
  scalars: ({ momentum }, step, lr) => ({ lr, momentum, first_step: step === 1 ? 1 : 0 }),
};
