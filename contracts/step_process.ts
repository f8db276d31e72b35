/** The messages between a worker and the process that computes steps for it, over the process's IPC channel. */
import { z } from 'zod';

/** Steps that are computed in processes of their own: activities, by their names. */
export const stepNames = [
  'admit',
  'prepareData',
  'shardModel',
  'evaluateEpoch',
  'evaluate',
  'consolidate',
] as const;
export type StepName = (typeof stepNames)[number];

export const stepCommandSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('compute'),
    step: z.enum(stepNames),
    request: z.unknown(),
    /** The device that the host's ranks train on, e.g. `cpu:0`: what a step plans is planned for it. */
    device: z.string().min(1),
  }),
  z.strictObject({ type: z.literal('cancel') }),
]);
export type StepCommand = z.infer<typeof stepCommandSchema>;

export const stepEventSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('progress'), fraction: z.number().nullable(), text: z.string() }),
  z.strictObject({ type: z.literal('done'), result: z.unknown() }),
]);
export type StepEvent = z.infer<typeof stepEventSchema>;
