import { z } from 'zod';

export const precisionSchema = z
  .enum(['fp32', 'bf16'])
  .describe(
    'bf16: activations and products in bfloat16, float32 master weights, reductions and residual stream',
  );
export type Precision = z.infer<typeof precisionSchema>;

export const activationCheckpointingSchema = z
  .enum(['none', 'full', 'auto'])
  .describe(
    'recompute activations in the backward pass: never, for every layer, or for as few layers as memory requires',
  );
export type ActivationCheckpointing = z.infer<typeof activationCheckpointingSchema>;

/** `training.early_stopping`: ends the run when the watched metric stops improving. */
export const earlyStoppingSchema = z.strictObject({
  metric: z
    .string()
    .default('val_loss')
    .describe('val_loss, val_loss/<set>, or a metric of a task that is evaluated after each epoch'),
  patience: z.int().min(1).describe('evaluations without improvement that are tolerated'),
  min_delta: z.number().min(0).default(0).describe('an improvement smaller than this does not count'),
});
export type EarlyStopping = z.infer<typeof earlyStoppingSchema>;

/** The keys of `training` that belong to the step loop; the optimizer's and the loss's are their components'. */
export const loopKeys = {
  num_epochs: z.int().min(1).default(3).describe('passes over the training data'),
  max_steps: z.int().min(1).nullable().default(null).describe('ends the run after this many optimizer steps'),
  clip_grad_norm: z
    .number()
    .positive()
    .nullable()
    .default(1)
    .describe('largest global norm of the gradients; null does not clip'),
  precision: precisionSchema.default('bf16'),
  activation_checkpointing: activationCheckpointingSchema.default('auto'),
  early_stopping: earlyStoppingSchema
    .nullable()
    .default(null)
    .describe('ends the run when the watched metric stops improving'),
};
