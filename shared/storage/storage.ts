/**
 * The one storage interface, over `file://` folders (or plain paths) and `s3://bucket/prefix`. A `Storage` is rooted:
 * keys are relative, use `/`, and may not climb out. Errors are StorageError (ServiceUnavailable where trying later may
 * help) and name the full location.
 */
import type { Readable } from 'node:stream';

/** A listed object. Its size is asked for where it is needed: on a folder that costs a look at each file. */
export interface StoredObject {
  key: string;
}

/** An object that is being written, or was when the writing process was killed. */
export interface UnfinishedWrite {
  /** Key of the object that it would have become. */
  key: string;
  startedAt: Date;
  /** Gives the write up: if its process is still alive, it fails there. */
  discard(): Promise<void>;
}

export interface Storage {
  /** Canonical location of the root, without a trailing slash: an absolute path for a folder, else `s3://…`. */
  readonly uri: string;
  /** The local folder, when this is one: lets readers map files in place. Null for object stores. */
  readonly folder: string | null;
  /** Size in bytes, or null when there is no such object. */
  size(key: string): Promise<number | null>;
  /**
   * The whole object.
   * @throws StorageError when absent
   */
  read(key: string): Promise<Buffer>;
  /** Bytes [start, end) of an object. Throws when absent or shorter. */
  readRange(key: string, start: number, end: number): Promise<Buffer>;
  /** A stream over [start, end), or the whole object. */
  readStream(key: string, start?: number, end?: number): Readable;
  /**
   * Writes or replaces an object, durably and all at once: readers see the old one or the new one, never a part.
   * Chunks must not change after they are given.
   */
  write(key: string, data: Uint8Array | AsyncIterable<Uint8Array>): Promise<void>;
  /**
   * Creates an object durably, or returns false when one of that name exists. Atomic among all writers, who must not
   * write the same bytes: after a lost answer, an object store's client knows its own object by its content.
   */
  createExclusive(key: string, data: Uint8Array): Promise<boolean>;
  /** Objects whose key starts with `prefix`, in key order. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** Writes under way whose key starts with `prefix`: partial files of a folder, multipart uploads of an object store. */
  unfinished(prefix: string): AsyncIterable<UnfinishedWrite>;
  delete(key: string): Promise<void>;
  /** Deletes every object whose key starts with `prefix`. */
  deletePrefix(prefix: string): Promise<void>;
  /** The same storage, rooted at a sub-path. */
  at(path: string): Storage;
}
