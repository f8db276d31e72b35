/**
 * prepareData: from a dataset to pack files, content-addressed, resumable, the same bytes whatever happened on the way.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { type DataReport, type PackIndex, packIndexSchema } from '../../../contracts/index.js';
import { digestOf } from '../../../shared/digest.js';
import { DataError, StorageError } from '../../../shared/errors.js';
import { publishFolder, removeAbandoned, writeAtomically } from '../../../shared/files.js';
import type { Document } from './documents/document.js';
import type { TokenizerSource } from './documents/tokenizer_source.js';
import { interleave } from './packs/mixture.js';
import { PackWriter } from './packs/pack_file.js';
import { Packer, packingWindow } from './packs/packing.js';
import { type ChunkCounts, chunkFile, readChunk } from './tokenize/chunk_store.js';
import { type PlannedSource, planChunks, planSource } from './tokenize/plan_chunks.js';
import type { ChunkTask } from './tokenize/thread_messages.js';
import { tokenizeAll } from './tokenize/tokenize_pool.js';
import { datasetDefinition } from './types/registry.js';
import { type Dataset, isMixture, type SingleDataset } from './types/schema.js';

/** Raised when the same input would give other packs: old ones are then not found, and are made again. */
const formatVersion = 2;

export interface PrepareProgress {
  /** The share that is done, from 0 to 1. */
  fraction: number;
  documents: number;
  tokens: number;
  /** A description for people. */
  text: string;
}

export interface PrepareOptions {
  dataset: Dataset;
  packedSequenceSize: number;
  /** Null when no dataset needs one. */
  tokenizer: TokenizerSource | null;
  /** Folder that was searched for one; named in the error when there is none. */
  tokenizerFolder?: string;
  /** Entries of the model's embedding: ids beyond it are refused. */
  vocabularySize: number | null;
  /** Folder under which each prepared dataset has a folder, named by its digest. */
  cache: string;
  /** Worker threads; the packs do not depend on it. Default 1. */
  threads?: number;
  /** Seconds that one row may take. Default 60. */
  rowSeconds?: number;
  onProgress?: (progress: PrepareProgress) => void;
  signal?: AbortSignal;
}

export interface PreparedPacks {
  /** Holds `index.json` and the pack files. */
  folder: string;
  /** Digest of everything the packs were made from. */
  digest: string;
  index: PackIndex;
  /** Found as it was, made by an earlier call. */
  reused: boolean;
}

/**
 * Tokenizes, masks, packs and writes a dataset, or finds it done. Killed at any instant and called again, it continues
 * with the chunks that are not tokenized yet, and ends with the same pack files.
 *
 * @throws DataError for data that cannot be used, naming file, row and column; StorageError for a full disk.
 */
export async function prepareData(options: PrepareOptions): Promise<PreparedPacks> {
  const started = performance.now();
  const sources = await planSources(options);
  const digest = packsDigest(sources, options);
  const folder = path.join(options.cache, digest);
  const finished = await publishedPacks(folder);
  if (finished !== null) return { folder, digest, index: finished, reused: true };

  const work = `${folder}.work`;
  try {
    await mkdir(work, { recursive: true });
    await removeAbandoned(work);
    await removeAbandoned(options.cache);
    const chunks = await tokenize(sources, work, options);
    const index = await pack(sources, chunks, work, folder, digest, options, started);
    await rm(work, { recursive: true, force: true });
    return { folder, digest, index, reused: false };
  } catch (error) {
    // Another process that prepares the same data may have published it, and removed the work folder under us.
    const concurrentlyPublished = await publishedPacks(folder);
    if (concurrentlyPublished !== null) return { folder, digest, index: concurrentlyPublished, reused: true };
    throw explainFullDisk(error, options.cache, work);
  }
}

/** Explains a full disk as an error that a user can act on; returns any other error unchanged. */
function explainFullDisk(error: unknown, cache: string, work: string): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  const full: Record<string, string> = {
    ENOSPC: 'the disk is full (no space, or no inodes)',
    EDQUOT: "the user's disk quota is used up",
  };
  if (full[code] === undefined) return error;
  return new StorageError(
    `${cache}: ${full[code]}: free some space, or put the cache elsewhere (TEMPER_CACHE); ` +
      `what is tokenized so far is kept in ${work} (${code})`,
    { cause: error },
  );
}

/**
 * Returns what `prepareData` has made of these options; null when it has not run yet.
 * @throws DataError for files that are not there
 */
export async function findPrepared(options: PrepareOptions): Promise<PreparedPacks | null> {
  const digest = packsDigest(await planSources(options), options);
  const folder = path.join(options.cache, digest);
  const index = await publishedPacks(folder);
  return index === null ? null : { folder, digest, index, reused: true };
}

async function planSources({
  dataset,
  tokenizer,
  tokenizerFolder,
  signal,
}: PrepareOptions): Promise<PlannedSource[]> {
  const singles = isMixture(dataset) ? dataset.datasets : [{ weight: 1, dataset }];
  const sources: PlannedSource[] = [];
  for (const { weight, dataset: single } of singles as { weight: number; dataset: SingleDataset }[]) {
    if (datasetDefinition(single.dataset_type).needsTokenizer && tokenizer === null) {
      throw new DataError(
        `'${single.dataset_type}' data needs a tokenizer, and ${tokenizerFolder ?? 'the model'} has none: ` +
          "put the model's tokenizer.json there, or train on 'pretokenized' data",
      );
    }
    sources.push(await planSource(single, weight, signal));
  }
  return sources;
}

/**
 * Returns the digest of everything that decides the packs' bytes: options and content, but neither paths nor threads.
 */
function packsDigest(sources: readonly PlannedSource[], options: PrepareOptions): string {
  const usesTokenizer = sources.some(({ dataset }) => datasetDefinition(dataset.dataset_type).needsTokenizer);
  return digestOf({
    formatVersion,
    sources: sources.map(({ dataset, weight, files }) => ({
      options: { ...dataset, path: null },
      weight,
      files: files.map(({ sha256, format }) => ({ sha256, format })),
    })),
    stop: isMixture(options.dataset) ? options.dataset.stop : null,
    tokenizer: usesTokenizer ? options.tokenizer!.digest : null,
    vocabularySize: options.vocabularySize,
    packedSequenceSize: options.packedSequenceSize,
    packingWindow,
  });
}

/**
 * Returns the index of a finished folder whose pack files have their lengths; null when there is none: anything else
 * there is replaced.
 */
async function publishedPacks(folder: string): Promise<PackIndex | null> {
  let index: PackIndex;
  try {
    index = packIndexSchema.parse(JSON.parse(await readFile(path.join(folder, 'index.json'), 'utf8')));
  } catch {
    return null;
  }
  for (const { file, bytes } of index.shards) {
    const info = await stat(path.join(folder, file)).catch(() => null);
    if (info?.size !== bytes) return null;
  }
  return index;
}

/** Tokenizes what is not tokenized yet; returns every source's chunk files in order. */
async function tokenize(
  sources: readonly PlannedSource[],
  work: string,
  options: PrepareOptions,
): Promise<string[][]> {
  const tasks: ChunkTask[] = [];
  const files: string[][] = sources.map(() => []);
  let total = 0;
  let done = 0;
  const sum = { documents: 0, tokens: 0 };
  for (const [number, source] of sources.entries()) {
    for await (const chunk of planChunks(source)) {
      const file = chunkFile(work, number, files[number]!.length);
      files[number]!.push(file);
      total += chunk.end - chunk.start;
      options.signal?.throwIfAborted();
      const existing = await readChunk(file);
      if (existing === null) {
        tasks.push({ chunk, dataset: source.dataset, file });
      } else {
        done += chunk.end - chunk.start;
        sum.documents += existing.documents.length;
        sum.tokens += existing.documents.reduce((tokens, { ids }) => tokens + ids.length, 0);
      }
    }
  }
  const settings = {
    tokenizer: options.tokenizer,
    vocabularySize: options.vocabularySize,
    packedSequenceSize: options.packedSequenceSize,
    rowSeconds: options.rowSeconds ?? 60,
  };
  const report = (): void => {
    const text = `tokenized ${sum.documents} documents, ${sum.tokens} tokens`;
    options.onProgress?.({ fraction: total === 0 ? 1 : done / total, ...sum, text });
  };
  report();
  await tokenizeAll(
    tasks,
    settings,
    options.threads ?? 1,
    ({ chunk }, result) => {
      done += chunk.end - chunk.start;
      sum.documents += result.documents;
      sum.tokens += result.tokens;
      report();
    },
    options.signal,
  );
  return files;
}

/** One source's documents, one after the other and from the beginning again, with one chunk in memory. */
class DocumentStream {
  #chunk = 0;
  #next = 0;
  #documents: Document[] = [];
  readonly #files: readonly string[];

  constructor(files: readonly string[]) {
    this.#files = files;
  }

  async next(): Promise<Document> {
    while (this.#next >= this.#documents.length) {
      const file = this.#files[this.#chunk % this.#files.length]!;
      const chunk = await readChunk(file);
      if (chunk === null)
        throw new DataError(`${file} disappeared or was damaged while it was in use: run again`);
      this.#documents = chunk.documents;
      this.#chunk += 1;
      this.#next = 0;
    }
    return this.#documents[this.#next++]!;
  }
}

interface SourceCounts extends ChunkCounts {
  documents: number;
}

async function sumCounts(files: readonly string[]): Promise<SourceCounts> {
  const sum: SourceCounts = { read: 0, truncated: 0, split: 0, dropped: 0, documents: 0 };
  for (const file of files) {
    const chunk = await readChunk(file);
    if (chunk === null)
      throw new DataError(`${file} disappeared or was damaged while it was in use: run again`);
    sum.read += chunk.read;
    sum.truncated += chunk.truncated;
    sum.split += chunk.split;
    sum.dropped += chunk.dropped;
    sum.documents += chunk.documents.length;
  }
  return sum;
}

async function pack(
  sources: readonly PlannedSource[],
  chunks: readonly string[][],
  work: string,
  folder: string,
  digest: string,
  options: PrepareOptions,
  started: number,
): Promise<PackIndex> {
  const counts = await Promise.all(chunks.map(sumCounts));
  for (const [number, { read: rowsRead, documents }] of counts.entries()) {
    if (documents === 0) throw emptySource(sources[number]!, rowsRead);
  }
  const building = path.join(work, `packs-${process.pid}-${randomUUID()}`);
  await mkdir(building);
  const writer = new PackWriter(building, options.packedSequenceSize);
  const packer = new Packer(options.packedSequenceSize);
  const streams = chunks.map((files) => new DocumentStream(files));
  const weighted = sources.map(({ weight }, number) => ({ weight, documents: counts[number]!.documents }));
  for (const number of interleave(
    weighted,
    isMixture(options.dataset) ? options.dataset.stop : 'first_exhausted',
  )) {
    const full = packer.add(await streams[number]!.next());
    if (full === null) continue;
    options.signal?.throwIfAborted();
    await writer.add(full);
  }
  for (const rest of packer.finish()) await writer.add(rest);
  await writer.close();

  const add = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
  const packs = writer.tokens.length;
  const tokens = add(writer.tokens);
  const report: DataReport = {
    documents: add(counts.map(({ read: rowsRead }) => rowsRead)),
    tokens,
    supervisedTokens: add(writer.supervised),
    truncated: add(counts.map(({ truncated }) => truncated)),
    split: add(counts.map(({ split }) => split)),
    dropped: add(counts.map(({ dropped }) => dropped)),
    packs,
    packingEfficiency: tokens / (packs * options.packedSequenceSize),
    seconds: (performance.now() - started) / 1000,
  };
  const index: PackIndex = packIndexSchema.parse({
    version: 1,
    packedSequenceSize: options.packedSequenceSize,
    shards: writer.files,
    packs,
    supervised: writer.supervised,
    tokens: writer.tokens,
    vocabularySize: options.vocabularySize,
    source: digest,
    report,
  });
  await publish(building, folder, index);
  return index;
}

function emptySource({ dataset, files }: PlannedSource, rowsRead: number): DataError {
  const where =
    files.length === 0 ? `the '${dataset.dataset_type}' dataset` : files.map((file) => file.path).join(', ');
  if (rowsRead === 0)
    return new DataError(
      `${where}: no rows to train on: the dataset, or what the recipe selects of it, is empty`,
    );
  const reason = 'none has a token that is trained on within packed_sequence_size';
  return new DataError(`${where}: all ${rowsRead} documents were dropped: ${reason}`);
}

/** Makes the folder appear under its name whole: its index is written last. What is there already and unsound is replaced. */
async function publish(building: string, folder: string, index: PackIndex): Promise<void> {
  await writeAtomically(path.join(building, 'index.json'), JSON.stringify(index));
  if ((await publishFolder(building, folder)) || (await publishedPacks(folder)) !== null) return;
  await rm(folder, { recursive: true, force: true });
  await publishFolder(building, folder);
}
