import { z } from 'zod';

/** A metric over examples. */
export const scoreSchema = z.strictObject({
  value: z.number(),
  /** Standard error; null when it is unknown. */
  stderr: z.number().nullable(),
  /** Examples that it is over. */
  n: z.int().min(1),
  /** The direction in which it is better. */
  direction: z.enum(['higher', 'lower']).nullable(),
});
export type Score = z.infer<typeof scoreSchema>;
