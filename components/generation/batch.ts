/**
 * Requests through a decoder, several at a time. A prompt runs by itself, in pieces; then its row joins the batch, and
 * leaves it as soon as it is finished, so that no step computes rows nobody waits for (continuous batching, Yu et al.,
 * "Orca", OSDI 2022). Which rows share a step follows only from the requests, so that a repeated call repeats every
 * bit.
 */
import type { OnnxDecoder } from './decoder.js';
import { KvCache } from './kv_cache.js';
import type { PromptMemory } from './prompt_memory.js';
import type { Generated, GenerationRequest, NewToken } from './protocol.js';
import { Sampler } from './sampling.js';

export interface BatchLimits {
  /** Rows that decode together. */
  batchSize: number;
  /** Bytes of keys and values that all rows together may come to. A single row may take more. */
  cacheBytes: number;
  /** Tokens of prompt and answer together. */
  contextLength: number;
  eosTokenIds: readonly number[];
}

export interface BatchHooks {
  /** Tokens as they come; resolves to the requests that are to end with them. */
  onTokens(tokens: readonly NewToken[]): Promise<readonly number[]>;
  isCancelled(): boolean;
}

interface Row {
  request: number;
  /** Prompt and answer; kept where a repetition penalty asks for it. */
  seen: Set<number>;
  last: number;
}

export class Batch {
  readonly #sampler: Sampler;
  readonly #eos: ReadonlySet<number>;
  #cache: KvCache;
  #prompt: KvCache;
  /** The requests being answered, in the order of the cache's rows. */
  readonly #rows: Row[] = [];
  readonly #results: Generated[];
  /** Longest prompt first: rows of like length are neighbors, and later ones fit into the space of earlier ones. */
  readonly #waiting: number[];
  readonly #decoder: OnnxDecoder;
  readonly #requests: readonly GenerationRequest[];
  readonly #limits: BatchLimits;
  readonly #hooks: BatchHooks;
  readonly #memory: PromptMemory | null;

  constructor(
    decoder: OnnxDecoder,
    requests: readonly GenerationRequest[],
    limits: BatchLimits,
    hooks: BatchHooks,
    /** The cache of the last answer when prompts continue each other; null for none. */
    memory: PromptMemory | null,
  ) {
    this.#decoder = decoder;
    this.#requests = requests;
    this.#limits = limits;
    this.#hooks = hooks;
    this.#memory = memory;
    this.#sampler = new Sampler(decoder.vocabularySize);
    this.#eos = new Set(limits.eosTokenIds);
    this.#cache = new KvCache(decoder.cacheGeometry);
    this.#prompt = new KvCache(decoder.cacheGeometry);
    this.#results = requests.map(() => ({ ids: [], finish: 'length' }));
    this.#waiting = requests
      .map((_, request) => request)
      .filter((request) => this.#allowance(request) > 0)
      .sort((a, b) => requests[b]!.ids.length - requests[a]!.ids.length || a - b)
      .reverse();
  }

  /** Returns one result per request, in their order; null when cancelled. */
  async run(): Promise<Generated[] | null> {
    while (this.#waiting.length > 0 || this.#rows.length > 0) {
      while (this.#hasRoom()) {
        if (this.#hooks.isCancelled()) return null;
        await this.#admit(this.#waiting.pop()!);
      }
      if (this.#hooks.isCancelled()) return null;
      if (this.#rows.length > 0) await this.#step();
    }
    return this.#results;
  }

  /** Returns the number of tokens that a request may get. */
  #allowance(request: number): number {
    const { ids, maxNewTokens } = this.#requests[request]!;
    return Math.min(maxNewTokens, this.#limits.contextLength - ids.length);
  }

  #hasRoom(): boolean {
    const next = this.#waiting.at(-1);
    if (next === undefined) return false;
    if (this.#rows.length === 0) return true;
    if (this.#rows.length === this.#limits.batchSize) return false;
    const requests = [...this.#rows.map(({ request }) => request), next];
    const longest = Math.max(...requests.map((r) => this.#requests[r]!.ids.length + this.#allowance(r)));
    const bytes = requests.length * KvCache.rowBytes(this.#decoder.cacheGeometry, longest);
    return bytes <= this.#limits.cacheBytes;
  }

  /** Runs a prompt, and lets its row join the batch with its first token. */
  async #admit(request: number): Promise<void> {
    const { ids, sampling } = this.#requests[request]!;
    const recalled = this.#memory?.recall(ids) ?? null;
    if (recalled === null) this.#prompt.reset();
    else this.#prompt = recalled;
    let logits: Float32Array = new Float32Array(0);
    for (let position = this.#prompt.tokens[0]!; position < ids.length; position += this.#decoder.chunkSize) {
      if (this.#hooks.isCancelled()) return;
      logits = await this.#decoder.forward(this.#prompt, [
        ids.slice(position, position + this.#decoder.chunkSize),
      ]);
    }
    const seen = new Set(sampling.repetitionPenalty === 1 ? [] : ids);
    const row: Row = { request, seen, last: -1 };
    this.#sample(row, logits.subarray(logits.length - this.#decoder.vocabularySize));
    this.#cache.append(this.#prompt);
    this.#rows.push(row);
    await this.#settle([row]);
  }

  /** Generates one token more for every row. */
  async #step(): Promise<void> {
    const { vocabularySize } = this.#decoder;
    const logits = await this.#decoder.forward(
      this.#cache,
      this.#rows.map(({ last }) => [last]),
    );
    this.#rows.forEach((row, r) => {
      this.#sample(row, logits.subarray(r * vocabularySize, (r + 1) * vocabularySize));
    });
    await this.#settle(this.#rows);
  }

  #sample(row: Row, logits: Float32Array): void {
    const { sampling } = this.#requests[row.request]!;
    const { ids } = this.#results[row.request]!;
    row.last = this.#sampler.next(logits, row.seen, ids.length, sampling);
    if (sampling.repetitionPenalty !== 1) row.seen.add(row.last);
    if (!this.#eos.has(row.last)) ids.push(row.last);
  }

  /** Tells of the newest tokens, and takes rows out that are finished. */
  async #settle(rows: readonly Row[]): Promise<void> {
    const tokens = rows
      .filter(({ last }) => !this.#eos.has(last))
      .map(({ request, last }) => ({ request, id: last }));
    const stopped = new Set(tokens.length > 0 ? await this.#hooks.onTokens(tokens) : []);
    for (const row of [...rows]) {
      const result = this.#results[row.request]!;
      if (this.#eos.has(row.last)) result.finish = 'eos';
      else if (stopped.has(row.request)) result.finish = 'stop';
      else if (result.ids.length < this.#allowance(row.request)) continue;
      this.#remove(row);
    }
  }

  #remove(row: Row): void {
    const index = this.#rows.indexOf(row);
    if (this.#memory !== null && this.#rows.length === 1) {
      this.#memory.keep(this.#cache, [
        ...this.#requests[row.request]!.ids,
        ...this.#results[row.request]!.ids,
      ]);
      this.#cache = new KvCache(this.#decoder.cacheGeometry);
    } else this.#cache.remove(index);
    const last = this.#rows.pop()!;
    if (last !== row) this.#rows[index] = last;
  }
}
