/**
 * From texts to the tokens that are scored, exactly as lm-evaluation-harness' `TemplateLM` and `HFLM` do: benchmark
 * figures are only comparable when the same tokens are.
 */
import { rstrip } from '../../../components/evaluation/index.js';

/** A document, and from which of its n − 1 log-probabilities on they count. */
export interface Request {
  ids: number[];
  from: number;
}

export interface SplitContext {
  encode: (text: string) => number[];
  /** Stands for an empty context. */
  prefix: number;
  /** Tokens that the model sees at most; what is longer is cut on the left. */
  maxPositions: number;
}

/**
 * Tokenizes context and continuation together; the continuation's tokens are those after as many as the context has by
 * itself. White space that ends the context belongs to the continuation.
 */
export function continuationTokens(
  context: string,
  continuation: string,
  { encode, prefix, maxPositions }: SplitContext,
): Request {
  const stem = rstrip(context);
  const joined = encode(context + continuation);
  const before = encode(stem).length;
  // An empty context is the prefix token, unless the continuation begins with that one anyway.
  const [ids, contextTokens] =
    context !== '' ? [joined, before] : [joined[0] === prefix ? joined : [prefix, ...joined], 1];
  const scored = ids.length - contextTokens;
  // One token more than the model sees: the last one is only predicted.
  const window = ids.slice(-(maxPositions + 1));
  return { ids: window, from: Math.max(0, window.length - scored - 1) };
}

/** Splits a text into windows that predict each token once, each with as much context before it as fits. */
export function rollingWindows(tokens: readonly number[], prefix: number, maxPositions: number): Request[] {
  if (tokens.length === 0) return [];
  const first = Math.min(maxPositions, tokens.length);
  const windows: Request[] = [{ ids: [prefix, ...tokens.slice(0, first)], from: 0 }];
  for (let done = first; done < tokens.length; ) {
    const predicted = Math.min(maxPositions, tokens.length - done);
    const end = done + predicted;
    const start = end - maxPositions - 1;
    windows.push({ ids: tokens.slice(start, end), from: maxPositions - predicted });
    done = end;
  }
  return windows;
}
