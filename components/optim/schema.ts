import { z } from 'zod';

const decay = {
  weight_decay: z.number().min(0).default(0).describe('decoupled for adamw, added to the gradient for sgd'),
  no_decay: z
    .array(z.string())
    .default([])
    .describe(
      'globs of parameter names that are not decayed, e.g. "*norm.weight"; none are excluded by default, as in torch',
    ),
};

export const adamwSchema = z.strictObject({
  name: z.literal('adamw'),
  betas: z
    .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
    .default([0.9, 0.95])
    .describe('decay rates of the first and second moment'),
  eps: z.number().positive().default(1e-8).describe('added to the root of the second moment'),
  ...decay,
});

export const sgdSchema = z.strictObject({
  name: z.literal('sgd'),
  momentum: z.number().min(0).lt(1).default(0).describe('0 keeps no moments'),
  ...decay,
});

/** `training.optimizer`. */
export const optimizerSchema = z.discriminatedUnion('name', [adamwSchema, sgdSchema]);
export type Optimizer = z.infer<typeof optimizerSchema>;

const shape = {
  warmup_steps: z.int().min(0).default(0).describe('steps over which the rate rises linearly'),
  min_lr: z.number().min(0).default(0).describe('the rate decays to this'),
};

/** `training.lr_scheduler`: the shape of the learning rate over the run's optimiser steps. */
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
