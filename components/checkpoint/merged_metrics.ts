/** The one `metrics.jsonl` that people read, while a generation writes it. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import path from 'node:path';
import { type CommittedMetrics, metricsKey } from '../../contracts/index.js';
import { sha256 } from '../../shared/digest.js';
import type { Storage } from '../../shared/storage/index.js';
import { requireGeneration } from './commit_log.js';

export interface MergedFile {
  /** The file as it was when it was last written as a whole. */
  readonly opened: CommittedMetrics['merged'];
  append(text: Buffer): void;
  /** Throws the error of an append, once. */
  flush(): Promise<void>;
  /** Called after each commit. */
  grow(): Promise<void>;
  /** Makes all lines so far readable in the file. */
  publish(): Promise<void>;
  close(): Promise<void>;
}

/** Writes `text` as the whole file and opens it for more. */
export async function openMergedFile(
  storage: Storage,
  generation: number,
  text: Buffer,
): Promise<MergedFile> {
  await storage.write(metricsKey, text);
  return storage.folder === null
    ? new MergedObject(storage, generation, text)
    : AppendedFile.open(storage, path.join(storage.folder, metricsKey), generation, text);
}

const describeText = (text: Buffer): CommittedMetrics['merged'] => ({
  bytes: text.length,
  sha256: sha256(text),
});

/**
 * On a folder, lines are appended as they come. A rewritten file is another file under the same name: a fenced process
 * that still appends reaches only the one that it opened.
 */
class AppendedFile implements MergedFile {
  opened: CommittedMetrics['merged'];
  readonly #storage: Storage;
  readonly #file: string;
  readonly #generation: number;
  #handle: FileHandle;
  #work: Promise<void> = Promise.resolve();
  #failure: { error: unknown } | null = null;

  private constructor(storage: Storage, file: string, generation: number, handle: FileHandle, text: Buffer) {
    this.#storage = storage;
    this.#file = file;
    this.#generation = generation;
    this.#handle = handle;
    this.opened = describeText(text);
  }

  static async open(storage: Storage, file: string, generation: number, text: Buffer): Promise<AppendedFile> {
    return new AppendedFile(storage, file, generation, await open(file, 'a+'), text);
  }

  append(text: Buffer): void {
    this.#work = this.#work.then(async () => {
      try {
        await this.#handle.appendFile(text);
      } catch (error) {
        this.#failure ??= { error };
      }
    });
  }

  async flush(): Promise<void> {
    await this.#work;
    const failure = this.#failure;
    this.#failure = null;
    if (failure !== null) throw failure.error;
  }

  /** Puts the file back that a process which was being fenced has replaced. */
  async grow(): Promise<void> {
    await this.flush();
    const stats = await stat(this.#file).catch(() => null);
    if (stats?.ino === (await this.#handle.stat()).ino) return;
    await requireGeneration(this.#storage, this.#generation);
    const text = Buffer.alloc((await this.#handle.stat()).size);
    await this.#handle.read(text, 0, text.length, 0);
    await this.#storage.write(metricsKey, text);
    await this.#handle.close();
    this.#handle = await open(this.#file, 'a+');
    this.opened = describeText(text);
  }

  async publish(): Promise<void> {
    await this.grow();
    await this.#handle.datasync();
  }

  async close(): Promise<void> {
    await this.#work;
    await this.#handle.close();
  }
}

/** Below this many bytes, an object is rewritten with every commit. */
const smallObject = 256 << 10;

/**
 * An object store has no append. The object is rewritten with a commit once a quarter has been added to it, so that all
 * writes beyond the first 256 KiB are together a few times its final size, however many commits there are.
 */
class MergedObject implements MergedFile {
  opened: CommittedMetrics['merged'];
  readonly #storage: Storage;
  readonly #generation: number;
  #chunks: Buffer[];
  #bytes: number;

  constructor(storage: Storage, generation: number, text: Buffer) {
    this.#storage = storage;
    this.#generation = generation;
    this.#chunks = [text];
    this.#bytes = text.length;
    this.opened = describeText(text);
  }

  append(text: Buffer): void {
    this.#chunks.push(text);
    this.#bytes += text.length;
  }

  async flush(): Promise<void> {}

  async grow(): Promise<void> {
    const { bytes } = this.opened;
    if (bytes < smallObject || this.#bytes >= bytes * 1.25) await this.publish();
  }

  async publish(): Promise<void> {
    if (this.#bytes === this.opened.bytes) return;
    await requireGeneration(this.#storage, this.#generation);
    const text = Buffer.concat(this.#chunks);
    this.#chunks = [text];
    await this.#storage.write(metricsKey, text);
    this.opened = describeText(text);
  }

  async close(): Promise<void> {}
}
