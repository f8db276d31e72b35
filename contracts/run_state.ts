/** Where a run stands: what the `progress` query answers, and what a workflow hands on when it continues as new. */
import { z } from 'zod';
import { admissionSchema } from './activities.js';
import { evaluationSchema, preparedDataSchema, shardedModelSchema } from './finetune.js';
import { epochOutcomeSchema, grantSchema, progressSchema } from './gang.js';
import { timelineEntrySchema } from './timeline.js';
import { timestampSchema, version } from './version.js';

export const runPhaseSchema = z.enum([
  'admitting',
  'preparing_data',
  'preparing_model',
  'waiting',
  'training',
  'paused',
  'evaluating',
  'publishing',
  'completed',
  'stopped',
  'failed',
]);
export type RunPhase = z.infer<typeof runPhaseSchema>;

export const runStatusSchema = z.strictObject({
  version: version(1),
  run: z.string(),
  phase: runPhaseSchema,
  /** Model name as the recipe gives it; null before admission. */
  model: z.string().nullable(),
  outputDir: z.string().nullable(),
  epochs: z.int().nullable(),
  /** Epochs that are done. */
  epoch: z.int(),
  generation: z.int().nullable(),
  /** Host that trains now. */
  host: z.string().nullable(),
  /** Last report of the gang; at most twenty seconds old while it trains. */
  progress: progressSchema.nullable(),
  timeline: z.array(timelineEntrySchema),
});
export type RunStatus = z.infer<typeof runStatusSchema>;

/** The whole state of the workflow as plain JSON. Second argument of `finetune` after continue-as-new. */
export const runStateSchema = z.strictObject({
  version: version(1),
  phase: runPhaseSchema,
  startedAt: timestampSchema,
  admission: admissionSchema.nullable(),
  data: preparedDataSchema.nullable(),
  model: shardedModelSchema.nullable(),
  /** Epochs that are done. */
  epoch: z.int().min(0),
  /** The gang that is held. */
  grant: grantSchema.nullable(),
  outcome: epochOutcomeSchema.nullable(),
  progress: progressSchema.nullable(),
  /** Newest committed step known; null before the first. */
  committedStep: z.int().nullable(),
  /** Errors since the newest commit grew, and that commit's step. */
  errors: z.strictObject({ count: z.int(), committedStep: z.int().nullable() }),
  paused: z.boolean(),
  stopping: z.boolean(),
  evaluation: evaluationSchema.nullable(),
  timeline: z.array(timelineEntrySchema),
  /**
   * Index in the timeline of the interruption that is being recovered from, when it was noticed, and the step that was
   * done by then, where that is known exactly.
   */
  interruption: z
    .strictObject({ entry: z.int(), noticedAt: timestampSchema, step: z.int().nullable() })
    .nullable(),
  /** When the gang was asked for. */
  askedAt: timestampSchema.nullable(),
});
export type RunState = z.infer<typeof runStateSchema>;
