import { z } from 'zod';
import { timelineWindow } from './names.js';
import { timestampSchema } from './version.js';

/** One thing that happened to a run. Seconds are null when the event has no such phase. */
export const timelineEntrySchema = z.strictObject({
  /** Counted from 1, without gaps. */
  number: z.int().min(1),
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
  /** Why: the failure's message, the signal, the size of the grant. Cut where it is long. */
  detail: z.string(),
  detectedAfter: z.number().nullable(),
  capacityAfter: z.number().nullable(),
  loadedAfter: z.number().nullable(),
  firstStepAfter: z.number().nullable(),
  stepsLost: z.int().nullable(),
  exactness: z.enum(['bitwise', 'rounding', 'fresh']).nullable(),
});
export type TimelineEntry = z.infer<typeof timelineEntrySchema>;

export const timelineSchema = z.array(timelineEntrySchema).max(timelineWindow);

/** Counts of a run's interruptions by cause. */
export const interruptionCountsSchema = z.strictObject({
  preempted: z.int().min(0),
  rank_lost: z.int().min(0),
  host_lost: z.int().min(0),
  error_retried: z.int().min(0),
});
export type InterruptionEvent = keyof z.infer<typeof interruptionCountsSchema>;
