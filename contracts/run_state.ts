/** The state of a run: the answer to the `progress` query, and what a workflow passes on when it continues as new. */
import { z } from 'zod';
import { admissionSchema, crashDetailsSchema } from './activities.js';
import { evaluationSchema, preparedDataSchema, verifiedModelSchema } from './finetune.js';
import { epochOutcomeSchema, grantSchema, progressSchema, runRequestsSchema } from './gang.js';
import { interruptionCountsSchema, timelineSchema } from './timeline.js';
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
  /** The newest entries. */
  timeline: timelineSchema,
  interruptions: interruptionCountsSchema,
});
export type RunStatus = z.infer<typeof runStatusSchema>;

/** The failures that a run has survived since it last got ahead: by a commit in training, by a step that was done. */
export const budgetSchema = z.strictObject({
  /** Failures by what they call for; see `failureDetailsSchema`. */
  storage: z.int().min(0),
  service: z.int().min(0),
  process: z.int().min(0),
  /** Losses that nobody is to blame for: they only lengthen the pause before the next try. */
  uncounted: z.int().min(0),
  /** The crash of a step's process; a second one on the same input ends the run. */
  crash: crashDetailsSchema.nullable(),
  /** Ranks that crashed: where, at which step, how. */
  rankCrashes: z.array(z.strictObject({ host: z.string(), step: z.int().nullable(), ended: z.string() })),
  /** Queues of hosts that lost this run's gang: another host is asked first. */
  avoid: z.array(z.string()),
  /** Times that one of them has left the run to another one, which did not take it. */
  refusals: z.int().min(0),
});
export type Budget = z.infer<typeof budgetSchema>;

/** The whole state of the workflow as plain JSON. Second argument of `finetune` after continue-as-new. */
export const runStateSchema = z.strictObject({
  version: version(1),
  phase: runPhaseSchema,
  startedAt: timestampSchema,
  admission: admissionSchema.nullable(),
  data: preparedDataSchema.nullable(),
  model: verifiedModelSchema.nullable(),
  /** Epochs that are done. */
  epoch: z.int().min(0),
  /** The gang that is held. */
  grant: grantSchema.nullable(),
  outcome: epochOutcomeSchema.nullable(),
  progress: progressSchema.nullable(),
  /** Newest committed step known; null before the first. */
  committedStep: z.int().nullable(),
  budget: budgetSchema,
  requests: runRequestsSchema,
  evaluation: evaluationSchema.nullable(),
  timeline: timelineSchema,
  /** Entries that are in the run's folder: those up to this number. */
  timelineWritten: z.int().min(0),
  interruptions: interruptionCountsSchema,
  /**
   * Number of the interruption's entry that is being recovered from, when it was noticed, and the step that was done by
   * then, where that is known exactly.
   */
  interruption: z
    .strictObject({ entry: z.int(), noticedAt: timestampSchema, step: z.int().nullable() })
    .nullable(),
  /** Numbers of the entries that the progress of the gang that is held completes. */
  comingUp: z
    .strictObject({ granted: z.int(), resumed: z.int().nullable(), damageRecorded: z.boolean() })
    .nullable(),
  /** Time of the request for the gang that the run waits for. */
  askedAt: timestampSchema.nullable(),
});
export type RunState = z.infer<typeof runStateSchema>;
