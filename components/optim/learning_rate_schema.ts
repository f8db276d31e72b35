import { z } from 'zod';

const shape = {
  warmup_steps: z.int().min(0).default(0).describe('steps over which the rate rises linearly'),
  min_lr: z.number().min(0).default(0).describe('learning rate at the end of the decay'),
};

/** `training.lr_scheduler`: the shape of the learning rate over the run's optimizer steps. */
export const lrSchedulerSchema = z.discriminatedUnion('name', [
  z.strictObject({ name: z.literal('constant'), warmup_steps: shape.warmup_steps }),
  z.strictObject({ name: z.literal('linear'), ...shape }),
  z.strictObject({ name: z.literal('cosine'), ...shape }),
  z.strictObject({ name: z.literal('inverse_sqrt'), ...shape }),
  z.strictObject({
    name: z.literal('wsd'),
    ...shape,
    decay_steps: z.int().min(1).describe('steps of linear decay at the end of the run'),
  }),
]);
export type LrScheduler = z.infer<typeof lrSchedulerSchema>;
