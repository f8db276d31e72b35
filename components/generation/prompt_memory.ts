/**
 * Keys and values of the request that was answered last, so that one which begins alike runs only its new tokens: in a
 * conversation everything but the last message.
 */
import type { KvCache } from './kv_cache.js';

export class PromptMemory {
  #ids: readonly number[] = [];
  #cache: KvCache | null = null;

  /** Takes a cache of one row that holds the beginning of `ids`. */
  keep(cache: KvCache, ids: readonly number[]): void {
    this.#cache = cache;
    this.#ids = ids.slice(0, cache.tokens[0]!);
  }

  /** Gives the cache away, cut to what it has in common with `ids`, of which at least one is left to run. */
  recall(ids: readonly number[]): KvCache | null {
    const cache = this.#cache;
    this.#cache = null;
    const differs = this.#ids.findIndex((id, i) => id !== ids[i]);
    const common = Math.min(differs < 0 ? this.#ids.length : differs, ids.length - 1);
    if (cache === null || common === 0) return null;
    cache.keepFirst(common);
    return cache;
  }
}
