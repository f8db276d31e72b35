import { z } from 'zod';

/** `checkpoint`: when the run's state is saved and how much of it is kept. */
export const checkpointSchema = z.strictObject({
  every_steps: z
    .int()
    .min(1)
    .nullable()
    .default(50)
    .describe('optimizer steps between checkpoints; null saves at ends of epochs only'),
  keep_last: z
    .int()
    .min(1)
    .default(2)
    .describe('number of checkpoints to keep; the best one is kept as well'),
  async: z.boolean().default(true).describe('training waits only for the copy into host memory'),
});
export type CheckpointOptions = z.infer<typeof checkpointSchema>;
