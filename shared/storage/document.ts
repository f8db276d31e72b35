/** The JSON documents of a run's folder, which workers read on their main threads. */
import type { Storage } from './storage.js';

/**
 * Most bytes of a document. An entry of the commit log that names 100,000 tensors has about half of them. A longer file is
 * not one of ours, and a worker that read it whole would answer none of its other runs meanwhile.
 */
const maxDocumentBytes = 32 << 20;

/** Returns the bytes of a document, null when there is none, or in words why it is not read. */
export async function readDocument(storage: Storage, key: string): Promise<Buffer | string | null> {
  const size = await storage.size(key);
  if (size === null) return null;
  return describeExcess(size) ?? storage.read(key);
}

/** Returns in words by how much a document is too long to be read; null when it is not. */
export function describeExcess(bytes: number): string | null {
  return bytes > maxDocumentBytes
    ? `it has ${bytes} bytes, and at most ${maxDocumentBytes} are allowed`
    : null;
}
