/**
 * From logits to a token, by the definitions of transformers' LogitsProcessors and in their order: repetition penalty,
 * temperature, top-k, top-p. A draw depends only on the logits, the seed, the stream and the token's number, never
 * on the batch that a request happened to be in.
 */
import { z } from 'zod';
import { philox } from '../../graph/index.js';
import { ModelError } from '../../shared/errors.js';

export const samplingSchema = z.strictObject({
  /** Logits are divided by it; 0 takes the best token (greedy). */
  temperature: z.number().min(0).default(0),
  /** Only the K best logits, and those equal to the K-th, stay; 0 keeps all. */
  topK: z.int().min(0).default(0),
  /** The fewest tokens stay whose probabilities reach this sum (Holtzman et al. 2020); 1 keeps all. */
  topP: z.number().gt(0).max(1).default(1),
  /** Logits of tokens in prompt and answer are divided by it, negative ones multiplied (Keskar et al. 2019); 1 is none. */
  repetitionPenalty: z.number().positive().default(1),
  seed: z.int().min(0).default(0),
  /** Requests of one seed draw different numbers by it. */
  stream: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(0),
});
export type SamplingOptions = z.infer<typeof samplingSchema>;

/** Tokens that may be drawn. */
export interface Candidates {
  /** The first `count` entries count. */
  count: number;
  ids: Int32Array;
  /** Relative to the best token's; `total` is their sum. */
  weights: Float64Array;
  total: number;
}

/** A weight below e^-36 of the best one's is lost in the sum of a vocabulary's float32 probabilities. */
const negligible = 36;
/** Steps of the table of exponentials per unit of the exponent. */
const resolution = 64;
/** e^(-i / resolution) */
const exponentials = Float64Array.from({ length: negligible * resolution + 2 }, (_, i) =>
  Math.exp(-i / resolution),
);

/** Draws tokens; holds the working space for a vocabulary. */
export class Sampler {
  readonly #candidates: Candidates;
  /** The table's step of each candidate. */
  readonly #stepOf: Uint16Array;
  /** The sum of the weights at each step of the table. */
  readonly #masses = new Float64Array(exponentials.length);
  readonly #heap: Float32Array;

  /** @param size V */
  constructor(size: number) {
    this.#candidates = { count: 0, ids: new Int32Array(size), weights: new Float64Array(size), total: 0 };
    this.#stepOf = new Uint16Array(size);
    this.#heap = new Float32Array(size);
  }

  /**
   * Returns the token that follows.
   *
   * @param logits [V]; changed where a repetition penalty applies
   * @param seen ids of prompt and answer
   * @param position number of the token in the answer, from 0
   * @throws ModelError when no logit is finite
   */
  next(logits: Float32Array, seen: Iterable<number>, position: number, options: SamplingOptions): number {
    penalize(logits, seen, options.repetitionPenalty);
    if (options.temperature === 0) return best(logits);
    return draw(this.distribution(logits, options), uniform(options, position));
  }

  /** Returns the tokens that may be drawn from logits that are already penalized; the next call reuses it. */
  distribution(
    logits: Float32Array,
    { temperature, topK, topP }: Pick<SamplingOptions, 'temperature' | 'topK' | 'topP'>,
  ): Candidates {
    const top = logits[best(logits)]!;
    let threshold = top - negligible * temperature;
    if (topK > 0 && topK < logits.length)
      threshold = Math.max(threshold, kthLargest(logits, topK, this.#heap));
    this.#weigh(logits, top, threshold, temperature);
    if (topP < 1) this.#cutNucleus(topP);
    return this.#candidates;
  }

  /**
   * Computes the weights e^((logit − top) / temperature), by the table and a polynomial for what is between its steps
   * (error 1e-11).
   */
  #weigh(logits: Float32Array, top: number, threshold: number, temperature: number): void {
    const candidates = this.#candidates;
    const stepOf = this.#stepOf;
    const masses = this.#masses;
    const { ids, weights } = candidates;
    const inverse = 1 / temperature;
    let count = 0;
    let total = 0;
    masses.fill(0);
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id]!;
      if (!(logit >= threshold)) continue;
      const distance = (top - logit) * inverse;
      const step = (distance * resolution) | 0;
      const rest = distance - step * (1 / resolution);
      const weight =
        exponentials[step]! * (1 - rest * (1 - rest * (1 / 2 - rest * (1 / 6 - rest * (1 / 24)))));
      ids[count] = id;
      weights[count] = weight;
      stepOf[count++] = step;
      masses[step]! += weight;
      total += weight;
    }
    candidates.count = count;
    candidates.total = total;
  }

  /** Keeps a token while those better than it weigh less than topP of all. Only the step of the cut needs an order. */
  #cutNucleus(topP: number): void {
    const candidates = this.#candidates;
    const stepOf = this.#stepOf;
    const masses = this.#masses;
    const { ids, weights } = candidates;
    const threshold = topP * candidates.total;
    let step = 0;
    let total = 0;
    while (step < masses.length - 1 && total + masses[step]! < threshold) total += masses[step++]!;
    const border: [weight: number, id: number][] = [];
    let keptCount = 0;
    for (let i = 0; i < candidates.count; i++) {
      if (stepOf[i]! > step) continue;
      if (stepOf[i] === step) border.push([weights[i]!, ids[i]!]);
      else {
        ids[keptCount] = ids[i]!;
        weights[keptCount++] = weights[i]!;
      }
    }
    border.sort((a, b) => b[0] - a[0] || a[1] - b[1]);
    for (const [weight, id] of border) {
      if (keptCount > 0 && total >= threshold) break;
      ids[keptCount] = id;
      weights[keptCount++] = weight;
      total += weight;
    }
    candidates.count = keptCount;
    candidates.total = total;
  }
}

/** Divides positive and multiplies negative logits of `seen` by the penalty; each id counts once. */
export function penalize(logits: Float32Array, seen: Iterable<number>, penalty: number): void {
  if (penalty === 1) return;
  for (const id of new Set(seen)) {
    const logit = logits[id]!;
    logits[id] = logit < 0 ? logit * penalty : logit / penalty;
  }
}

/** Returns the index of the largest logit, the first of several that tie. */
function best(logits: Float32Array): number {
  let index = -1;
  let top = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    if (logits[id]! > top) {
      top = logits[id]!;
      index = id;
    }
  }
  if (index < 0 || top === Infinity)
    throw new ModelError('the model returned logits that are not finite: its weights are damaged');
  return index;
}

/** Returns the k-th largest value, by a heap of the k largest so far whose root is the smallest of them. */
function kthLargest(values: Float32Array, k: number, heap: Float32Array): number {
  for (let i = 0; i < k; i++) heap[i] = values[i]!;
  for (let i = (k >> 1) - 1; i >= 0; i--) sink(heap, i, k);
  let root = heap[0]!;
  for (let i = k; i < values.length; i++) {
    const value = values[i]!;
    if (!(value > root)) continue;
    heap[0] = value;
    sink(heap, 0, k);
    root = heap[0]!;
  }
  return root;
}

function sink(heap: Float32Array, from: number, size: number): void {
  const value = heap[from]!;
  let index = from;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= size) break;
    if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= value) break;
    heap[index] = heap[child]!;
    index = child;
  }
  heap[index] = value;
}

/** The inverse of the cumulative distribution. */
function draw({ count, ids, weights, total }: Candidates, u: number): number {
  let left = u * total;
  for (let i = 0; i < count; i++) {
    left -= weights[i]!;
    if (left < 0) return ids[i]!;
  }
  return ids[count - 1]!;
}

/** Returns a uniform number in [0, 1), with 53 bits. */
function uniform({ seed, stream }: SamplingOptions, position: number): number {
  const key = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)] as const;
  const [high, low] = philox([position, stream, 0, 0], key);
  return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
}
