import { z } from 'zod';
import { version } from './version.js';

export const gangMemberSchema = z.strictObject({
  /** The host worker's own task queue, `<pool>.<host>.<incarnation>`. */
  queue: z.string(),
  host: z.string(),
  incarnation: z.string(),
  /** Device of each rank on this host, e.g. `cpu:0`, in rank order. */
  devices: z.array(z.string()).min(1),
  firstRank: z.int().min(0),
});

/** A gang of ranks for one run. All or none; membership never changes within a generation. */
export const grantSchema = z.strictObject({
  version: version(1),
  run: z.string(),
  generation: z.int().min(1),
  worldSize: z.int().min(1),
  members: z.array(gangMemberSchema).min(1),
});
export type Grant = z.infer<typeof grantSchema>;

/**
 * The requests for a run, as a level and not as events: each change has the next number, and all of it travels in
 * every train request and every control message. A receiver of several applies the highest number, so none can be
 * lost, repeated or overtaken.
 */
export const runRequestsSchema = z.strictObject({
  number: z.int().min(0),
  paused: z.boolean(),
  /** Ends the run after the step under way and publishes it. */
  stopping: z.boolean(),
  /** Checkpoints asked for so far. A rank saves whenever this has grown since it started. */
  checkpoint: z.int().min(0),
});
export type RunRequests = z.infer<typeof runRequestsSchema>;

export const noRequests: RunRequests = { number: 0, paused: false, stopping: false, checkpoint: 0 };

/** Brings the newest requests to a gang that is held. */
export const controlMessageSchema = z.strictObject({
  version: version(1),
  grant: grantSchema,
  requests: runRequestsSchema,
});
export type ControlMessage = z.infer<typeof controlMessageSchema>;

/** The start of a generation, for the timeline. */
export const resumedSchema = z.strictObject({
  fromStep: z.int(),
  stepsLost: z.int().nullable(),
  exactness: z.enum(['bitwise', 'rounding', 'fresh']),
  loadSeconds: z.number(),
  /** Null until the first step is complete. */
  firstStepSeconds: z.number().nullable(),
  /** Newer checkpoints that were passed over, naming file and tensor. */
  damage: z.array(z.string()),
});
export type Resumed = z.infer<typeof resumedSchema>;

/** Heartbeat details of a training activity, and the payload of the workflow's `report` signal. */
export const progressSchema = z.strictObject({
  version: version(1),
  phase: z.enum(['training', 'paused', 'validating', 'saving']),
  generation: z.int(),
  step: z.int(),
  totalSteps: z.int(),
  epoch: z.number(),
  loss: z.number().nullable(),
  valLoss: z.number().nullable(),
  lr: z.number().nullable(),
  tokensPerSecond: z.number().nullable(),
  /** Seconds to the end of training. */
  eta: z.number().nullable(),
  /** Newest committed step. */
  committedStep: z.int().nullable(),
  resumed: resumedSchema,
});
export type Progress = z.infer<typeof progressSchema>;

/** The outcome of a training activity that ended well. */
export const epochOutcomeSchema = z.strictObject({
  kind: z.enum(['epoch', 'finished', 'preempted', 'stopped']),
  /** `finished`: max_steps, last epoch or early stopping. */
  reason: z.string(),
  step: z.int(),
  epoch: z.number(),
  /** Newest commit; null when none was made. */
  commit: z.int().nullable(),
  loss: z.number().nullable(),
  validation: z.record(z.string(), z.number()),
  resumed: resumedSchema,
});
export type EpochOutcome = z.infer<typeof epochOutcomeSchema>;
