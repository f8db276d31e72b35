/** The messages between a host worker and the rank in its child process, over the process's IPC channel. */
import { z } from 'zod';
import { preparedDataSchema, runReferenceSchema } from './finetune.js';
import { epochOutcomeSchema, progressSchema, runRequestsSchema } from './gang.js';
import { uriSchema, version } from './version.js';

export const rankStartSchema = z.strictObject({
  type: z.literal('start'),
  version: version(1),
  run: runReferenceSchema,
  generation: z.int().min(1),
  worldSize: z.int().min(1),
  /** The device that it computes on, e.g. `cpu:0`. */
  device: z.string().min(1),
  model: uriSchema,
  data: preparedDataSchema,
  requests: runRequestsSchema,
});
export type RankStart = z.infer<typeof rankStartSchema>;

export const rankCommandSchema = z.discriminatedUnion('type', [
  rankStartSchema,
  /** Train until this epoch (from 0) is done. */
  z.strictObject({ type: z.literal('train'), epoch: z.int().min(0) }),
  z.strictObject({ type: z.literal('requests'), requests: runRequestsSchema }),
  /** Commit after the step under way, and end the epoch as `preempted`. */
  z.strictObject({ type: z.literal('preempt') }),
  z.strictObject({ type: z.literal('exit') }),
]);
export type RankCommand = z.infer<typeof rankCommandSchema>;

export const rankEventSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('progress'), progress: progressSchema }),
  z.strictObject({ type: z.literal('outcome'), outcome: epochOutcomeSchema }),
]);
export type RankEvent = z.infer<typeof rankEventSchema>;
