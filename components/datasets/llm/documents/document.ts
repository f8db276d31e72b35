/** A tokenized document: the unit that packing never mixes and attention never crosses. */

/** Label of a token that is not trained on, as in PyTorch's `ignore_index`. */
export const ignored = -100;

export interface Document {
  ids: Int32Array;
  /** Aligned with `ids`: the token's own label, or −100. The shift to predictions is made when a batch is assembled. */
  labels: Int32Array;
}

/**
 * Returns the number of tokens that some earlier token of the document predicts and that are supervised: those the loss
 * counts.
 */
export function countTargets(document: Document): number {
  let count = 0;
  for (let index = 1; index < document.labels.length; index += 1) {
    if (document.labels[index] !== ignored) count += 1;
  }
  return count;
}

/** The result of fitting a document that may be too long. */
export interface Fitted {
  pieces: Document[];
  truncated: boolean;
  split: boolean;
}

/** Cuts a document into pieces of at most `size` tokens: only the first (`truncate`), or all (`split`). */
export function cutToSize(document: Document, size: number, long: 'truncate' | 'split'): Fitted {
  if (document.ids.length <= size) return { pieces: [document], truncated: false, split: false };
  const pieces: Document[] = [];
  for (let start = 0; start < document.ids.length; start += size) {
    pieces.push({
      ids: document.ids.subarray(start, start + size),
      labels: document.labels.subarray(start, start + size),
    });
    if (long === 'truncate') break;
  }
  return { pieces, truncated: long === 'truncate', split: long === 'split' };
}
