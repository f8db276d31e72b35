/** Packs to the input slots of a micro-batch, as docs/plan-format.md names them. */
import { ignored } from '../documents/document.js';
import type { NumberedPack } from './reader.js';

export interface MicroBatch {
  ids: Int32Array; // (T)
  /** Target of each position: the next token where it is supervised and of the same document, else −100. */
  labels: Int32Array; // (T)
  /** Position within the document. */
  positions: Int32Array; // (T)
  /** Document boundaries, ascending from 0, padded with T. A pack's padding is a segment of its own. */
  segments: Int32Array; // (T + 1)
  /** Number of the pack each token belongs to. */
  packs: Int32Array; // (T)
  /** The token's position within its pack. */
  offsets: Int32Array; // (T)
  /** Positions that have a label. */
  supervised: number;
  /** Tokens that are not padding. */
  tokens: number;
}

/**
 * Lays at most `micro` packs of S tokens side by side: T = micro × S. With fewer packs (none at all on a rank that ran
 * out), the rest is padding without labels.
 */
export function assembleMicroBatch(
  packs: readonly NumberedPack[],
  packedSequenceSize: number,
  micro: number,
): MicroBatch {
  const size = packedSequenceSize;
  const total = micro * size;
  if (packs.length > micro)
    throw new RangeError(`${packs.length} packs do not fit a micro-batch of ${micro}`);
  const batch: MicroBatch = {
    ids: new Int32Array(total),
    labels: new Int32Array(total).fill(ignored),
    positions: new Int32Array(total),
    segments: new Int32Array(total + 1).fill(total),
    packs: new Int32Array(total),
    offsets: new Int32Array(total),
    supervised: 0,
    tokens: 0,
  };
  let segments = 0;
  for (let slot = 0; slot < micro; slot += 1) {
    const base = slot * size;
    const pack = packs[slot];
    for (let offset = 0; offset < size; offset += 1) batch.offsets[base + offset] = offset;
    const ends = pack === undefined ? [] : [...pack.starts.slice(1), pack.tokens];
    if (pack !== undefined) {
      batch.ids.set(pack.ids, base);
      batch.packs.fill(pack.number, base, base + size);
      batch.supervised += pack.supervised;
      batch.tokens += pack.tokens;
    }
    let start = 0;
    for (const end of ends) {
      batch.segments[segments++] = base + start;
      for (let token = start; token < end; token += 1) {
        batch.positions[base + token] = token - start;
        if (token + 1 < end) batch.labels[base + token] = pack!.labels[token + 1]!;
      }
      start = end;
    }
    if (start < size) {
      batch.segments[segments++] = base + start;
      for (let token = start; token < size; token += 1) batch.positions[base + token] = token - start;
    }
  }
  return batch;
}
