/**
 * First-fit packing over a bounded window of open packs. Documents are never cut here; each pack holds whole documents,
 * then padding.
 */
import type { Document } from '../documents/document.js';
import { countTargets } from '../documents/document.js';

export interface Pack {
  ids: Int32Array; // (S), 0 in the padding
  labels: Int32Array; // (S), aligned with ids, −100 where not trained on and in the padding
  /** First token of each document, ascending from 0. */
  starts: number[];
  /** Tokens that are not padding. */
  tokens: number;
  /** Targets within documents. */
  supervised: number;
}

interface OpenPack {
  documents: Document[];
  tokens: number;
}

/** Open packs. More gain little: at 64 the share of padding is within a few thousandths of an unbounded window's. */
export const packingWindow = 64;

/** Takes documents in order and gives packs in order: deterministic, and bounded in memory. */
export class Packer {
  #open: OpenPack[] = [];

  constructor(
    readonly size: number,
    readonly window: number = packingWindow,
  ) {}

  /** Adds a document of at most `size` tokens; returns a pack when one had to be closed or is full. */
  add(document: Document): Pack | null {
    const length = document.ids.length;
    if (length > this.size)
      throw new RangeError(`a document of ${length} tokens does not fit packs of ${this.size}`);
    const index = this.#open.findIndex((pack) => pack.tokens + length <= this.size);
    const pack = index < 0 ? { documents: [], tokens: 0 } : this.#open[index]!;
    pack.documents.push(document);
    pack.tokens += length;
    if (index < 0) this.#open.push(pack);
    if (pack.tokens === this.size) {
      this.#open = this.#open.filter((other) => other !== pack);
      return this.#close(pack);
    }
    return this.#open.length > this.window ? this.#close(this.#open.shift()!) : null;
  }

  /** Returns the packs still open, oldest first. */
  finish(): Pack[] {
    const packs = this.#open.map((pack) => this.#close(pack));
    this.#open = [];
    return packs;
  }

  #close({ documents, tokens }: OpenPack): Pack {
    const ids = new Int32Array(this.size);
    const labels = new Int32Array(this.size).fill(-100);
    const starts: number[] = [];
    let supervised = 0;
    let offset = 0;
    for (const document of documents) {
      ids.set(document.ids, offset);
      labels.set(document.labels, offset);
      starts.push(offset);
      supervised += countTargets(document);
      offset += document.ids.length;
    }
    return { ids, labels, starts, tokens, supervised };
  }
}
