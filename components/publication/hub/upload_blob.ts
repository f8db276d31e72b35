/**
 * A file on its way to the hub, as the Blob that fetch sends: read from its folder, a chunk at a time, as often as
 * needed.
 */
import { ReadableStream } from 'node:stream/web';

export interface UploadFile {
  /** Path in the repository. */
  path: string;
  bytes: number;
  sha256: string;
  /** Bytes [start, end). */
  read(start: number, end: number): AsyncIterable<Uint8Array>;
}

export class UploadBlob extends Blob {
  /** Bytes; a property of its own, because a Blob's is that of what it was made of. */
  override readonly size: number;

  readonly #file: UploadFile;
  readonly #from: number;
  readonly #to: number;
  readonly #onRead: (bytes: number) => void;

  constructor(file: UploadFile, from: number, to: number, onRead: (bytes: number) => void) {
    super([]);
    this.#file = file;
    this.#from = from;
    this.#to = to;
    this.#onRead = onRead;
    this.size = to - from;
  }

  override slice(start = 0, end = this.size): Blob {
    const to = Math.min(this.#from + end, this.#to);
    return new UploadBlob(this.#file, Math.min(this.#from + start, to), to, this.#onRead);
  }

  override stream(): ReturnType<Blob['stream']> {
    return ReadableStream.from(this.#chunks()) as ReturnType<Blob['stream']>;
  }

  override async arrayBuffer(): Promise<ArrayBuffer> {
    const buffer = new Uint8Array(this.size);
    let offset = 0;
    for await (const chunk of this.#chunks()) {
      buffer.set(chunk, offset);
      offset += chunk.length;
    }
    return buffer.buffer;
  }

  override async text(): Promise<string> {
    return Buffer.from(await this.arrayBuffer()).toString('utf8');
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    if (this.size === 0) return;
    for await (const chunk of this.#file.read(this.#from, this.#to)) {
      this.#onRead(chunk.length);
      yield chunk;
    }
  }
}
