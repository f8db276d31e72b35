/** Messages between the parent and a tokenizing thread. */
import type { Failure } from '../../../../shared/processes/failures.js';
import type { TokenizerSource } from '../documents/tokenizer_source.js';
import type { Chunk } from '../sources/chunk.js';
import type { SingleDataset } from '../types/schema.js';
import type { ChunkSummary } from './chunk_store.js';

export interface PoolSettings {
  tokenizer: TokenizerSource | null;
  vocabularySize: number | null;
  packedSequenceSize: number;
  /** Seconds that a thread may spend on one row: a chat template may loop without end. */
  rowSeconds: number;
}

/** Settings that a thread starts with. */
export interface ThreadSettings extends PoolSettings {
  /** Written by the thread: how many rows it has begun, and the file's row (from 0) that is the last of them. */
  position: Int32Array<SharedArrayBuffer>;
}

export interface ChunkTask {
  chunk: Chunk;
  dataset: SingleDataset;
  /** File for the tokenized chunk. */
  file: string;
}

export type TaskReply = { summary: ChunkSummary } | { failure: Failure };
