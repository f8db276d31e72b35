import type { FileFormat } from './files.js';

/** A run of rows that one worker thread reads, tokenizes and stores at a time. */
export interface Chunk {
  /** The file; null for generated data. */
  file: string | null;
  format: FileFormat | 'generated';
  /** Bytes [start, end) of the file; rows for Parquet and generated data. */
  start: number;
  end: number;
  /** Number of its first row in the dataset's files taken together, and in its file; both from 0. */
  firstRow: number;
  firstRowOfFile: number;
  rows: number;
  /** Bytes [0, headerEnd) hold a CSV's names. */
  headerEnd: number;
  /** False where the chunk is an inner piece of one long text. */
  begins: boolean;
  ends: boolean;
}

export interface Row {
  /** Number of the row in the dataset's files taken together, from 0: `rows` and `holdout` select by it. */
  index: number;
  /** Location for errors: `line 7`, `row 7`. */
  location: string;
  value: unknown;
  /** True for the document's first, and its last, piece: only a long text file has several. */
  begins: boolean;
  ends: boolean;
}

/** Bytes of one chunk: about a second of tokenizing, which is also what a kill costs. */
export const chunkBytes = 1 << 19;

/**
 * Most bytes of a row: with a longer one the file is of another format than it claims. A thread holds several copies of
 * one.
 */
export const maxRowBytes = 16 << 20;

/** Most bytes of a text that is one document, for readers that read it whole. */
export const maxTextBytes = 256 << 20;
