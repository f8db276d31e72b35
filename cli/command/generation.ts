/** Options of `generate` and `chat` from their common flags. */
import { UsageError } from '../../shared/errors.js';
import type { GenerationFlags } from './flags.js';

export function modelOptions({ model, adapter, precision }: GenerationFlags) {
  return { model, adapter: adapter ?? null, precision };
}

export function generationOptions(flags: GenerationFlags) {
  const { maxNewTokens, temperature, topK, topP, repetitionPenalty, stop = [], seed } = flags;
  if (stop.includes('')) throw new UsageError('--stop: the text is empty');
  return { maxNewTokens, temperature, topK, topP, repetitionPenalty, stop, seed };
}
