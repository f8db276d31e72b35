/** Log-probabilities of given tokens, computed the way answers are: a prompt in one run, then token by token through the cache. */
import type { OnnxDecoder } from './decoder.js';
import { KvCache } from './kv_cache.js';

/** Returns log p(token i+1 | ≤ i): n − 1 numbers for n tokens. The first half is the prompt. */
export async function documentLogprobs(
  decoder: OnnxDecoder,
  ids: readonly number[],
): Promise<Float64Array<ArrayBuffer>> {
  const { vocabularySize } = decoder;
  const cache = new KvCache(decoder.cacheGeometry);
  cache.reset();
  const logprobs = new Float64Array(Math.max(0, ids.length - 1));
  const score = (logits: Float32Array, from: number) => {
    for (let i = 0; i * vocabularySize < logits.length && from + i + 1 < ids.length; i++) {
      const row = logits.subarray(i * vocabularySize, (i + 1) * vocabularySize);
      logprobs[from + i] = logSoftmax(row, ids[from + i + 1]!);
    }
  };
  const half = Math.ceil(ids.length / 2);
  for (let position = 0; position < half; position += decoder.chunkSize) {
    score(
      await decoder.forward(cache, [ids.slice(position, Math.min(half, position + decoder.chunkSize))]),
      position,
    );
  }
  for (let position = half; position < ids.length - 1; position++)
    score(await decoder.forward(cache, [[ids[position]!]]), position);
  return logprobs;
}

/** Normalizes logits in float64, so that any error that remains is the model's. */
function logSoftmax(logits: Float32Array, id: number): number {
  let top = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > top) top = logit;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - top);
  return logits[id]! - top - Math.log(sum);
}
