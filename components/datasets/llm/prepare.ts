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
import { packDocuments, type WrittenPacks } from './packs/pack_documents.js';
import { packingWindow } from './packs/packing.js';
import { type PlannedSource, planSource } from './tokenize/plan_chunks.js';
import { type TokenizedSource, type TokenizeOptions, tokenizeSources } from './tokenize/tokenize_sources.js';
import { datasetDefinition } from './types/registry.js';
import { type Dataset, isMixture, type SingleDataset } from './types/schema.js';

/** Raised when the same input would give other packs: old ones are then not found, and are made again. */
const formatVersion = 2;

export interface PrepareOptions extends TokenizeOptions {
  dataset: Dataset;
  /** Folder that was searched for a tokenizer; named in the error when there is none. */
  tokenizerFolder?: string;
  /** Folder under which each prepared dataset has a folder, named by its digest. */
  cache: string;
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
    const tokenized = await tokenizeSources(sources, work, options);
    for (const [number, { summary }] of tokenized.entries()) {
      if (summary.documents === 0) throw emptySource(sources[number]!, summary.read);
    }
    const building = path.join(work, `packs-${process.pid}-${randomUUID()}`);
    await mkdir(building);
    const packed = await packDocuments(building, sources, tokenized, options);
    const index = describePacks(packed, tokenized, digest, options, (performance.now() - started) / 1000);
    await publish(building, folder, index);
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

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Returns the index of packs that took `seconds` to prepare. */
function describePacks(
  { files, supervised, tokens }: WrittenPacks,
  tokenized: readonly TokenizedSource[],
  digest: string,
  { packedSequenceSize, vocabularySize }: PrepareOptions,
  seconds: number,
): PackIndex {
  const packs = tokens.length;
  const report: DataReport = {
    documents: sum(tokenized.map(({ summary }) => summary.read)),
    tokens: sum(tokens),
    supervisedTokens: sum(supervised),
    truncated: sum(tokenized.map(({ summary }) => summary.truncated)),
    split: sum(tokenized.map(({ summary }) => summary.split)),
    dropped: sum(tokenized.map(({ summary }) => summary.dropped)),
    packs,
    packingEfficiency: sum(tokens) / (packs * packedSequenceSize),
    seconds,
  };
  return packIndexSchema.parse({
    version: 1,
    packedSequenceSize,
    shards: files,
    packs,
    supervised,
    tokens,
    vocabularySize,
    source: digest,
    report,
  });
}

/** Makes the folder appear under its name whole: its index is written last. What is there already and unsound is replaced. */
async function publish(building: string, folder: string, index: PackIndex): Promise<void> {
  await writeAtomically(path.join(building, 'index.json'), JSON.stringify(index));
  if ((await publishFolder(building, folder)) || (await publishedPacks(folder)) !== null) return;
  await rm(folder, { recursive: true, force: true });
  await publishFolder(building, folder);
}
