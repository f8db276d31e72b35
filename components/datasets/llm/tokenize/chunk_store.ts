/**
 * Tokenized chunks on disk: the journal from which a killed preparation continues. A chunk's file appears under its
 * name whole or not at all, its content depends on nothing but the chunk, and its checksum is verified when it is read.
 *
 *     magic, version, documents, words after this header       int32
 *     read, truncated, split, dropped                           int32
 *     per document: n, ids [n], labels [n]                      int32
 *     crc32 of everything before it                             int32
 */
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { writeUnsynced } from '../../../../shared/files.js';
import type { Document } from '../documents/document.js';

const magic = 0x6b6e6863; // "chnk"
const version = 1;
const headerWords = 8;

export interface ChunkCounts {
  /** Documents read, before any was cut or dropped. */
  read: number;
  truncated: number;
  split: number;
  dropped: number;
}

export interface TokenizedChunk extends ChunkCounts {
  documents: Document[];
}

/** What a chunk holds, in numbers. */
export interface ChunkSummary extends ChunkCounts {
  documents: number;
  tokens: number;
}

export function summarize({ documents, ...counts }: TokenizedChunk): ChunkSummary {
  const tokens = documents.reduce((sum, { ids }) => sum + ids.length, 0);
  return { ...counts, documents: documents.length, tokens };
}

export const chunkFile = (folder: string, source: number, index: number): string =>
  path.join(folder, `${String(source).padStart(3, '0')}-${String(index).padStart(6, '0')}.chunk`);

/** Writes a chunk under its final name, atomically. */
export async function writeChunk(file: string, { documents, ...counts }: TokenizedChunk): Promise<void> {
  const words = documents.reduce((sum, { ids }) => sum + 1 + 2 * ids.length, 0);
  const data = new Int32Array(headerWords + words + 1);
  data.set([
    magic,
    version,
    documents.length,
    words,
    counts.read,
    counts.truncated,
    counts.split,
    counts.dropped,
  ]);
  let offset = headerWords;
  for (const { ids, labels } of documents) {
    data[offset] = ids.length;
    data.set(ids, offset + 1);
    data.set(labels, offset + 1 + ids.length);
    offset += 1 + 2 * ids.length;
  }
  const bytes = new Uint8Array(data.buffer);
  data[offset] = crc32(bytes.subarray(0, offset * 4)) | 0;
  await writeUnsynced(file, bytes);
}

/**
 * Returns a finished chunk, or null when there is none or what is there is damaged (after a power failure, say): make
 * it again.
 */
export async function readChunk(file: string): Promise<TokenizedChunk | null> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const data =
    bytes.length % 4 === 0 && bytes.length >= (headerWords + 1) * 4
      ? copyToInt32(bytes)
      : new Int32Array(headerWords);
  const [seenMagic, seenVersion, count, words, read, truncated, split, dropped] = data as unknown as number[];
  const end = headerWords + words!;
  const sound =
    seenMagic === magic &&
    seenVersion === version &&
    data.length === end + 1 &&
    data[end] === (crc32(bytes.subarray(0, end * 4)) | 0);
  if (!sound) {
    await rm(file, { force: true });
    return null;
  }
  const documents: Document[] = [];
  for (let offset = headerWords, index = 0; index < count!; index += 1) {
    const length = data[offset]!;
    documents.push({
      ids: data.subarray(offset + 1, offset + 1 + length),
      labels: data.subarray(offset + 1 + length, offset + 1 + 2 * length),
    });
    offset += 1 + 2 * length;
  }
  return { documents, read: read!, truncated: truncated!, split: split!, dropped: dropped! };
}

function copyToInt32(bytes: Buffer): Int32Array {
  const copy = new Int32Array(bytes.length / 4);
  new Uint8Array(copy.buffer).set(bytes);
  return copy;
}
