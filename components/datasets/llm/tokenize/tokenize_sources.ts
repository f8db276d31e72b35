/** Tokenizes the chunks of every source, as far as an earlier attempt has not done so. */
import type { TokenizerSource } from '../documents/tokenizer_source.js';
import type { Chunk } from '../sources/chunk.js';
import { type ChunkSummary, chunkFile, readChunk, summarize } from './chunk_store.js';
import { type PlannedSource, planChunks } from './plan_chunks.js';
import type { ChunkTask } from './thread_messages.js';
import { tokenizeAll } from './tokenize_pool.js';

export interface TokenizeOptions {
  /** Null when no dataset needs one. */
  tokenizer: TokenizerSource | null;
  /** Entries of the model's embedding: ids beyond it are refused. */
  vocabularySize: number | null;
  packedSequenceSize: number;
  /** Worker threads. Default 1. */
  threads?: number;
  /** Seconds that one row may take. Default 60. */
  rowSeconds?: number;
  onProgress?: (progress: PrepareProgress) => void;
  signal?: AbortSignal;
}

export interface PrepareProgress {
  /** The share that is done, from 0 to 1. */
  fraction: number;
  documents: number;
  tokens: number;
  /** A description for people. */
  text: string;
}

/** A source's chunk files in order, and what they hold together. */
export interface TokenizedSource {
  files: string[];
  summary: ChunkSummary;
}

const empty: ChunkSummary = { read: 0, truncated: 0, split: 0, dropped: 0, documents: 0, tokens: 0 };

function sum(a: ChunkSummary, b: ChunkSummary): ChunkSummary {
  const keys = Object.keys(empty) as (keyof ChunkSummary)[];
  return Object.fromEntries(keys.map((key) => [key, a[key] + b[key]])) as unknown as ChunkSummary;
}

/**
 * Writes a file in `work` for each chunk of each source; sound ones that are there are kept.
 * @throws DataError for a row that cannot be used
 */
export async function tokenizeSources(
  sources: readonly PlannedSource[],
  work: string,
  options: TokenizeOptions,
): Promise<TokenizedSource[]> {
  const tokenized = sources.map((): TokenizedSource => ({ files: [], summary: empty }));
  const sourceOf = new Map<ChunkTask, TokenizedSource>();
  let total = 0;
  let done = 0;
  const add = (source: TokenizedSource, { start, end }: Chunk, summary: ChunkSummary): void => {
    source.summary = sum(source.summary, summary);
    done += end - start;
  };
  const report = (): void => {
    const { documents, tokens } = tokenized.map(({ summary }) => summary).reduce(sum);
    const text = `tokenized ${documents} documents, ${tokens} tokens`;
    options.onProgress?.({ fraction: total === 0 ? 1 : done / total, documents, tokens, text });
  };
  for (const [number, planned] of sources.entries()) {
    const source = tokenized[number]!;
    for await (const chunk of planChunks(planned)) {
      options.signal?.throwIfAborted();
      const file = chunkFile(work, number, source.files.length);
      source.files.push(file);
      total += chunk.end - chunk.start;
      const existing = await readChunk(file);
      if (existing === null) sourceOf.set({ chunk, dataset: planned.dataset, file }, source);
      else add(source, chunk, summarize(existing));
    }
  }
  report();
  const settings = {
    tokenizer: options.tokenizer,
    vocabularySize: options.vocabularySize,
    packedSequenceSize: options.packedSequenceSize,
    rowSeconds: options.rowSeconds ?? 60,
  };
  const finish = (task: ChunkTask, summary: ChunkSummary): void => {
    add(sourceOf.get(task)!, task.chunk, summary);
    report();
  };
  await tokenizeAll([...sourceOf.keys()], settings, options.threads ?? 1, finish, options.signal);
  return tokenized;
}
