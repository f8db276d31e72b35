/** Counter-based hashing: the same numbers for the same counters, in any process and any order. */

/**
 * Applies MurmurHash3's 32-bit finalizer (Appleby): every input bit flips each output bit with probability close to
 * 1/2.
 */
export function mix32(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Returns a uint32 that depends on every word. Integers up to 2^53 count with both their halves. */
export function hashWords(...words: readonly number[]): number {
  let h = 0x9e3779b9;
  for (const word of words) {
    h = mix32(h ^ (word >>> 0));
    h = mix32((h + Math.floor(word / 0x1_0000_0000)) | 0);
  }
  return h;
}

/** Returns a uniform number in [0, 1), from counters. */
export const uniform = (...words: readonly number[]): number => hashWords(...words) / 0x1_0000_0000;
