/** Packs to the input slots of a micro-batch, as docs/plan-format.md names them. */
import { ignored } from '../documents/document.js';
import type { NumberedPack } from './reader.js';

export interface MicroBatch {
  ids: Int32Array; // (T)
  /** Target of each position: the next token where it is supervised and of the same document, else −100. */
  labels: Int32Array; // (T)
  /** Position within the document. */
  positions: Int32Array; // (T)
  /** First and last key that each token sees: those of its document up to itself. A pack's padding is a document of its own. */
  spans: Int32Array; // (T, 2)
  /** Number of the pack each token belongs to. */
  packs: Int32Array; // (T)
  /** The token's position within its pack. */
  offsets: Int32Array; // (T)
  /** Positions that have a label. */
  supervised: number;
}

/** Lets the tokens [start, end) see each other, up to themselves. @param spans (T, 2) */
export function fillCausalSpans(spans: Int32Array, start: number, end: number): void {
  for (let token = start; token < end; token += 1) {
    spans[2 * token] = start;
    spans[2 * token + 1] = token;
  }
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
    spans: new Int32Array(2 * total),
    packs: new Int32Array(total),
    offsets: new Int32Array(total),
    supervised: 0,
  };
  for (let slot = 0; slot < micro; slot += 1) {
    const base = slot * size;
    const pack = packs[slot];
    for (let offset = 0; offset < size; offset += 1) batch.offsets[base + offset] = offset;
    const ends = pack === undefined ? [] : [...pack.starts.slice(1), pack.tokens];
    if (pack !== undefined) {
      batch.ids.set(pack.ids, base);
      batch.packs.fill(pack.number, base, base + size);
      batch.supervised += pack.supervised;
    }
    let start = 0;
    for (const end of ends) {
      fillCausalSpans(batch.spans, base + start, base + end);
      for (let token = start; token < end; token += 1) {
        batch.positions[base + token] = token - start;
        if (token + 1 < end) batch.labels[base + token] = pack!.labels[token + 1]!;
      }
      start = end;
    }
    if (start < size) {
      fillCausalSpans(batch.spans, base + start, base + size);
      for (let token = start; token < size; token += 1) batch.positions[base + token] = token - start;
    }
  }
  return batch;
}
