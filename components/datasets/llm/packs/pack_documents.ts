/** Packs the documents of one source or a mixture, in the order of the mixture, and writes the pack files. */
import { DataError } from '../../../../shared/errors.js';
import type { Document } from '../documents/document.js';
import { readChunk } from '../tokenize/chunk_store.js';
import type { PlannedSource } from '../tokenize/plan_chunks.js';
import type { TokenizedSource } from '../tokenize/tokenize_sources.js';
import { type Dataset, isMixture } from '../types/schema.js';
import { interleave } from './mixture.js';
import { PackWriter } from './pack_file.js';
import { Packer } from './packing.js';

export interface PackingOptions {
  dataset: Dataset;
  packedSequenceSize: number;
  signal?: AbortSignal;
}

/** Written pack files, and for each pack its tokens and how many of them are trained on. */
export type WrittenPacks = Pick<PackWriter, 'files' | 'supervised' | 'tokens'>;

/** Writes the packs into `folder`. @throws DataError for a chunk that is no longer there */
export async function packDocuments(
  folder: string,
  sources: readonly PlannedSource[],
  tokenized: readonly TokenizedSource[],
  { dataset, packedSequenceSize, signal }: PackingOptions,
): Promise<WrittenPacks> {
  const writer = new PackWriter(folder, packedSequenceSize);
  const packer = new Packer(packedSequenceSize);
  const streams = tokenized.map(({ files }) => new DocumentStream(files));
  const weighted = sources.map(({ weight }, number) => ({
    weight,
    documents: tokenized[number]!.summary.documents,
  }));
  for (const number of interleave(weighted, isMixture(dataset) ? dataset.stop : 'first_exhausted')) {
    const full = packer.add(await streams[number]!.next());
    if (full === null) continue;
    signal?.throwIfAborted();
    await writer.add(full);
  }
  for (const rest of packer.finish()) await writer.add(rest);
  await writer.close();
  return writer;
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
