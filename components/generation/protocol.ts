/** Messages between the parent and the process that holds ONNX Runtime. */
import { z } from 'zod';
import { samplingSchema } from './sampling.js';

export const requestSchema = z.strictObject({
  ids: z.array(z.int().min(0)),
  maxNewTokens: z.int().min(0),
  sampling: samplingSchema,
});
/** A prompt as token ids, and how it is to be continued. */
export type GenerationRequest = z.infer<typeof requestSchema>;

const resultSchema = z.strictObject({
  ids: z.array(z.int()),
  finish: z.enum(['eos', 'stop', 'length']),
});
/** The answer's tokens without the end-of-sequence token, and why it ends. */
export type Generated = z.infer<typeof resultSchema>;

const newTokenSchema = z.strictObject({ request: z.int(), id: z.int() });
/** A token of the request of that number. */
export type NewToken = z.infer<typeof newTokenSchema>;

export const commandSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('open'), onnx: z.string(), threads: z.int().min(1) }),
  z.strictObject({
    type: z.literal('generate'),
    requests: z.array(requestSchema),
    /** True when tokens are reported as they come; each message then waits for its `go`. */
    streaming: z.boolean(),
    batchSize: z.int().min(1),
    cacheBytes: z.number(),
    contextLength: z.int().min(1),
    eosTokenIds: z.array(z.int()),
    /** True when a prompt continues from keys and values of the request before it, as far as both are alike. */
    reusePrompts: z.boolean(),
  }),
  z.strictObject({ type: z.literal('score'), documents: z.array(z.array(z.int().min(0))) }),
  /** Goes on after `tokens`, but for the requests named. */
  z.strictObject({ type: z.literal('go'), stop: z.array(z.int()) }),
  z.strictObject({ type: z.literal('cancel') }),
]);
export type Command = z.infer<typeof commandSchema>;

export const eventSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready'), vocabularySize: z.int() }),
  z.strictObject({ type: z.literal('tokens'), tokens: z.array(newTokenSchema) }),
  /** The results; null after a cancellation. */
  z.strictObject({ type: z.literal('results'), results: z.array(resultSchema).nullable() }),
  /** log p(token i+1 | ≤ i) of each document. */
  z.strictObject({ type: z.literal('scores'), logprobs: z.array(z.instanceof(Float64Array)) }),
]);
export type SessionEvent = z.infer<typeof eventSchema>;
