/** Reads a file's header forwards through a window, with every length checked against what is left of the file. */
import { readSync } from 'node:fs';
import { ModelError } from '../../../shared/errors.js';

const windowBytes = 1 << 20;
const maxString = 1 << 24;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class HeaderReader {
  #window = Buffer.alloc(0);
  #windowStart = 0;
  /** Bytes read so far. */
  position = 0;

  readonly #descriptor: number;
  readonly #fileBytes: number;
  readonly #file: string;

  constructor(descriptor: number, fileBytes: number, file: string) {
    this.#descriptor = descriptor;
    this.#fileBytes = fileBytes;
    this.#file = file;
  }

  /** Returns the next `length` bytes; valid until the next call. `what` names them in errors. */
  bytes(length: number, what: string): Buffer {
    const end = this.position + length;
    if (end > this.#fileBytes) {
      throw new ModelError(`${this.#file}: ends while ${what} is read; truncated, or not a GGUF file`);
    }
    if (end > this.#windowStart + this.#window.length) this.#fill(Math.max(length, windowBytes), what);
    const from = this.position - this.#windowStart;
    this.position = end;
    return this.#window.subarray(from, from + length);
  }

  u32(what: string): number {
    return this.bytes(4, what).readUInt32LE(0);
  }

  /** Throws where the value is beyond 2^53. */
  u64(what: string): number {
    const value = this.bytes(8, what).readBigUInt64LE(0);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw new ModelError(`${this.#file}: ${what}: ${value} is absurdly large`);
    return Number(value);
  }

  /**
   * Returns a number of things that take at least `leastBytes` each, and so cannot be more than the file has room for.
   */
  count(what: string, leastBytes: number): number {
    const count = this.u64(what);
    if (count * leastBytes > this.#fileBytes - this.position) {
      throw new ModelError(`${this.#file}: ${what}, ${count}, is more than the file has room for`);
    }
    return count;
  }

  string(what: string): string {
    const length = this.count(`the length of ${what}`, 1);
    if (length > maxString)
      throw new ModelError(`${this.#file}: ${what}: a string of ${length} bytes is longer than ${maxString}`);
    try {
      return decoder.decode(this.bytes(length, what));
    } catch (cause) {
      if (cause instanceof ModelError) throw cause;
      throw new ModelError(`${this.#file}: ${what} is not valid UTF-8`, { cause });
    }
  }

  #fill(length: number, what: string): void {
    const byteCount = Math.min(length, this.#fileBytes - this.position);
    const buffer = Buffer.alloc(byteCount);
    for (let done = 0; done < byteCount; ) {
      const bytesRead = readSync(this.#descriptor, buffer, done, byteCount - done, this.position + done);
      if (bytesRead === 0)
        throw new ModelError(
          `${this.#file}: became shorter while ${what} was read; start again once nothing writes to it`,
        );
      done += bytesRead;
    }
    this.#window = buffer;
    this.#windowStart = this.position;
  }
}
