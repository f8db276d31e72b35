/** The order in which an epoch takes its packs: a keyed permutation, computed point by point and never stored. */
import { hashWords, mix32 } from '../documents/random.js';

const rounds = 8;

/**
 * A bijection of [0, length) drawn by (seed, epoch): a balanced Feistel network over the next even power of two, walked
 * along its cycle until it lands within the range (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
 * An epoch's position in it is one integer, whatever the world size.
 *
 * @example
 * const order = new EpochOrder(1000, 1111, 0);
 * order.at(0); // the first pack of epoch 0
 */
export class EpochOrder {
  readonly #halfBits: number;
  readonly #keys: number[];

  constructor(
    readonly length: number,
    seed: number,
    epoch: number,
  ) {
    if (!Number.isInteger(length) || length < 0 || length > 2 ** 30) {
      throw new RangeError(`an epoch's order covers 0 to 2^30 packs, not ${length}`);
    }
    this.#halfBits = Math.max(1, Math.ceil(Math.log2(Math.max(2, length)) / 2));
    this.#keys = Array.from({ length: rounds }, (_, round) => hashWords(seed, epoch, round));
  }

  /** Returns the pack number at a position of the epoch. */
  at(position: number): number {
    if (!Number.isInteger(position) || position < 0 || position >= this.length) {
      throw new RangeError(`position ${position} is outside an epoch of ${this.length} packs`);
    }
    let value = position;
    do value = this.#permute(value);
    while (value >= this.length);
    return value;
  }

  /** Returns the pack numbers at positions [from, to). */
  slice(from: number, to: number): number[] {
    return Array.from({ length: to - from }, (_, index) => this.at(from + index));
  }

  #permute(value: number): number {
    const mask = 2 ** this.#halfBits - 1;
    let left = value >>> this.#halfBits;
    let right = value & mask;
    for (const key of this.#keys) [left, right] = [right, left ^ (mix32(right ^ key) & mask)];
    return ((left << this.#halfBits) | right) >>> 0;
  }
}
