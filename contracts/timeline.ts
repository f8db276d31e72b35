import { z } from 'zod';
import { timestampSchema } from './version.js';

/** One thing that happened to a run. Seconds are null where the event has no such phase. */
export const timelineEntrySchema = z.strictObject({
  at: timestampSchema,
  event: z.enum([
    'admitted',
    'data_prepared',
    'model_ready',
    'gang_granted',
    'epoch_finished',
    'preempted',
    'rank_lost',
    'host_lost',
    'error_retried',
    'resumed',
    'checkpoint_damaged',
    'paused',
    'unpaused',
    'stopped',
    'evaluated',
    'published',
  ]),
  generation: z.int().nullable(),
  step: z.int().nullable(),
  /** Why: the failure's message, the signal, the grant's host. */
  detail: z.string(),
  detectedAfter: z.number().nullable(),
  capacityAfter: z.number().nullable(),
  loadedAfter: z.number().nullable(),
  firstStepAfter: z.number().nullable(),
  stepsLost: z.int().nullable(),
  exactness: z.enum(['bitwise', 'rounding', 'fresh']).nullable(),
});
export type TimelineEntry = z.infer<typeof timelineEntrySchema>;
