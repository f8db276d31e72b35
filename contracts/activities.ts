/** The requests and results of the `finetune` workflow's activities, and their interfaces. */
import { z } from 'zod';
import {
  type Admitted,
  admittedSchema,
  type Evaluation,
  evaluationSchema,
  finetuneResultSchema,
  type PreparedData,
  preparedDataSchema,
  type RunReference,
  runReferenceSchema,
  type VerifiedModel,
  verifiedModelSchema,
} from './finetune.js';
import {
  type ControlMessage,
  type EpochOutcome,
  epochOutcomeSchema,
  type Grant,
  grantSchema,
  progressSchema,
  runRequestsSchema,
} from './gang.js';
import { timelineSchema } from './timeline.js';
import { timestampSchema, version } from './version.js';

/** The result of `admit`. */
export const admissionSchema = z.strictObject({
  admitted: admittedSchema,
  /** True when the namespace has Temper's search attributes. */
  searchAttributes: z.boolean(),
  /** Run id of the workflow under which `run.json` names it as the folder's owner. */
  claim: z.string(),
});
export interface Admission {
  admitted: Admitted;
  searchAttributes: boolean;
  claim: string;
}

export const acquireRequestSchema = z.strictObject({
  version: version(1),
  run: runReferenceSchema,
  /** Queues of hosts that leave the run to another one, as long as there is one. */
  avoid: z.array(z.string()),
});
export type AcquireRequest = z.infer<typeof acquireRequestSchema>;

export const trainRequestSchema = z.strictObject({
  version: version(1),
  run: runReferenceSchema,
  grant: grantSchema,
  model: verifiedModelSchema,
  data: preparedDataSchema,
  /** Train until this epoch, from 0, is done. */
  epoch: z.int().min(0),
  requests: runRequestsSchema,
  /** See Admission. */
  claim: z.string(),
});
export type TrainRequest = z.infer<typeof trainRequestSchema>;

/**
 * The outcome of a `trainEpoch` that ends well. `detached`: the gang trains on by itself, and the next `trainEpoch` of
 * the same grant takes it up again; so a workflow may continue as new in the middle of an epoch.
 */
export const trainOutcomeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('detached') }),
  z.strictObject({ kind: z.literal('ended'), outcome: epochOutcomeSchema }),
]);
export type TrainOutcome = { kind: 'detached' } | { kind: 'ended'; outcome: EpochOutcome };

export const evaluateRequestSchema = z.strictObject({
  version: version(1),
  run: runReferenceSchema,
  model: verifiedModelSchema,
  data: preparedDataSchema,
});
export type EvaluateRequest = z.infer<typeof evaluateRequestSchema>;

export const evaluateEpochRequestSchema = z.strictObject({
  version: version(1),
  run: runReferenceSchema,
  model: verifiedModelSchema,
  /** Optimizer steps done when the epoch ended. */
  step: z.int().min(1),
  /** True when training ended with it: the model is evaluated even in the middle of an epoch. */
  finished: z.boolean(),
});
export type EvaluateEpochRequest = z.infer<typeof evaluateEpochRequestSchema>;

export const epochEvaluationSchema = z.strictObject({
  /** Scores by metric. */
  scores: z.record(z.string(), z.number()),
  /** Why training should end here; null when it should not. */
  stop: z.string().nullable(),
  /** A line for each damage of the epoch's commit, which has no scores then: file, tensor and commit. */
  damage: z.array(z.string()),
});
export type EpochEvaluation = z.infer<typeof epochEvaluationSchema>;

export const consolidateRequestSchema = z.strictObject({
  version: version(1),
  run: runReferenceSchema,
  model: verifiedModelSchema,
  data: preparedDataSchema,
  evaluation: evaluationSchema,
});
export type ConsolidateRequest = z.infer<typeof consolidateRequestSchema>;

export const consolidatedSchema = z.strictObject({
  /** URI of the Hugging Face folder. */
  model: z.string(),
  /** The location to which `export.publish_to` published it, or null. */
  published: z.string().nullable(),
  metrics: z.record(z.string(), z.number()),
});

export const recordTimelineRequestSchema = z.strictObject({
  version: version(1),
  run: runReferenceSchema,
  /** Start time of the run's workflow: distinguishes its entries from those of an earlier workflow of the run. */
  startedAt: timestampSchema,
  /** Entries with consecutive numbers. */
  entries: timelineSchema.min(1),
});
export type RecordTimelineRequest = z.infer<typeof recordTimelineRequestSchema>;

export const finishRequestSchema = z.strictObject({
  version: version(1),
  run: runReferenceSchema,
  /** See Admission. */
  claim: z.string(),
  end: z.discriminatedUnion('state', [
    z.strictObject({ state: z.enum(['completed', 'stopped']), result: finetuneResultSchema }),
    z.strictObject({ state: z.literal('failed'), failure: z.string() }),
  ]),
});
export type FinishRequest = z.infer<typeof finishRequestSchema>;

/** Details of a failure whose type is the code of an error. */
export const failureDetailsSchema = z.strictObject({
  version: version(1),
  /** The retry that can help after it; see `Retry` in shared/errors.ts. */
  retry: z.enum(['never', 'storage', 'service', 'process']),
});
export type FailureDetails = z.infer<typeof failureDetailsSchema>;

/** Details of RankLost and HostLost failures. */
export const lossDetailsSchema = z.strictObject({
  version: version(1),
  /** Seconds from the last sign of life to the notice, on one clock; null when no clock saw both. */
  silentFor: z.number().nullable(),
  /** The end of the process, e.g. `killed by SIGSEGV`; null when it is not known. */
  ended: z.string().nullable(),
  /** The last progress it reported. */
  progress: progressSchema.nullable(),
});
export type LossDetails = z.infer<typeof lossDetailsSchema>;

/** Details of a ProcessCrashed failure. */
export const crashDetailsSchema = z.strictObject({
  version: version(1),
  /** The activity's name, e.g. `prepareData`. */
  step: z.string(),
  /** sha256 of the step's request: equal inputs that crash twice are poison. */
  input: z.string(),
  /** The end of the process, e.g. `killed by SIGTRAP` or `used more than 4.0 GB of memory`. */
  ended: z.string(),
  /** Host name, so that a second crash is known to be on another host or on the same one. */
  host: z.string(),
});
export type CrashDetails = z.infer<typeof crashDetailsSchema>;

/** Argument of the `hostLost` signal: the host worker that served this queue is proven to be gone. */
export const hostLostSchema = z.strictObject({
  version: version(1),
  queue: z.string(),
  /** Seconds from the last sign of life to the notice, on one clock; null when no clock saw both. */
  silentFor: z.number().nullable(),
  step: z.int().nullable(),
  detail: z.string(),
});
export type HostLost = z.infer<typeof hostLostSchema>;

export const releasedSchema = z.strictObject({
  /** True when the ranks' processes are gone. Otherwise their slots stay quarantined until they are. */
  torn: z.boolean(),
});
export type Released = z.infer<typeof releasedSchema>;

/** On the task queue `temper`. */
export interface ControlActivities {
  admit(input: unknown): Promise<Admission>;
  /**
   * Writes entries of the timeline into the run's folder and returns the number of the newest that is there, which is
   * older than the last one given where an earlier attempt wrote fewer of them.
   */
  recordTimeline(request: RecordTimelineRequest): Promise<number>;
  finish(request: FinishRequest): Promise<void>;
}

/** On `temper.steps.<pool>`. */
export interface StepActivities {
  prepareData(run: RunReference): Promise<PreparedData>;
  shardModel(run: RunReference): Promise<VerifiedModel>;
  evaluateEpoch(request: EvaluateEpochRequest): Promise<EpochEvaluation>;
  evaluate(request: EvaluateRequest): Promise<Evaluation>;
  consolidate(request: ConsolidateRequest): Promise<z.infer<typeof consolidatedSchema>>;
}

/** On `temper.pool.<pool>`. */
export interface PoolActivities {
  /** Waits on the queue until a host has a free slot; takes it, and a generation, for the run. */
  acquire(request: AcquireRequest): Promise<Grant>;
}

/** On the host's own queue. */
export interface GangActivities {
  trainEpoch(request: TrainRequest): Promise<TrainOutcome>;
  /** Returns once the host has passed the requests on to its ranks. */
  control(message: ControlMessage): Promise<void>;
  /** Has the running `trainEpoch` return `detached`. */
  detach(grant: Grant): Promise<void>;
  /** Gives the slot back. Nothing happens when it is not held any more. */
  release(grant: Grant): Promise<Released>;
}
