/** Storage in a folder of a local or mounted file system. */
import { randomUUID } from 'node:crypto';
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
} from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { types } from 'node:util';
import { StorageError } from '../errors.js';
import { syncFolder } from '../files.js';
import { checkKey, checkPrefix } from './key.js';
import { isWithin, outsideRoots } from './roots.js';
import type { Storage, StoredObject, UnfinishedWrite } from './storage.js';

/** Files under construction, `.<name>.<uuid>.partial`: hidden and never listed. */
const partialName = /^\.(.*)\.[0-9a-f-]{36}\.partial$/;
const chunkBytes = 4 << 20;

export class FolderStorage implements Storage {
  readonly folder: string;

  readonly #realRoots: readonly string[] | null;

  /**
   * `folder` is absolute and need not exist yet. `realRoots` are the allowed roots with their symbolic links resolved:
   * a link that leads out of them is refused. Null allows everything.
   */
  constructor(folder: string, realRoots: readonly string[] | null) {
    this.#realRoots = realRoots;
    this.folder = folder;
  }

  get uri(): string {
    return this.folder;
  }

  async size(key: string): Promise<number | null> {
    const file = await this.#locate(key);
    try {
      const info = await stat(file);
      if (info.isDirectory()) return null;
      return info.size;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw explain(file, 'cannot be inspected', error);
    }
  }

  async read(key: string): Promise<Buffer> {
    return this.#readFrom(key, 0, null);
  }

  async readRange(key: string, start: number, end: number): Promise<Buffer> {
    return this.#readFrom(key, start, end);
  }

  async #readFrom(key: string, start: number, end: number | null): Promise<Buffer> {
    const file = await this.#locate(key);
    const handle = await openForReading(file);
    try {
      const stop = end ?? (await handle.stat()).size;
      const buffer = Buffer.allocUnsafeSlow(stop - start);
      await readFully(handle, file, buffer, start);
      return buffer;
    } catch (error) {
      throw explain(file, 'cannot be read', error);
    } finally {
      await handle.close();
    }
  }

  readStream(key: string, start = 0, end?: number): Readable {
    return Readable.from(this.#readChunks(key, start, end ?? null), { objectMode: false });
  }

  async *#readChunks(key: string, start: number, end: number | null): AsyncGenerator<Buffer> {
    const file = await this.#locate(key);
    const handle = await openForReading(file);
    try {
      const stop = end ?? (await handle.stat()).size;
      for (let position = start; position < stop; position += chunkBytes) {
        const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, stop - position));
        await readFully(handle, file, buffer, position);
        yield buffer;
      }
    } catch (error) {
      throw explain(file, 'cannot be read', error);
    } finally {
      await handle.close();
    }
  }

  async write(key: string, data: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
    const file = await this.#locate(key);
    await this.#writePartial(file, data, async (partial) => {
      await rename(partial, file);
    });
  }

  async createExclusive(key: string, data: Uint8Array): Promise<boolean> {
    const file = await this.#locate(key);
    let created = false;
    await this.#writePartial(file, data, async (partial) => {
      created = await linkExclusively(partial, file);
      await rm(partial);
    });
    return created;
  }

  /** Writes and syncs a file next to `file`, publishes it, and syncs the folder. Leaves nothing behind on failure. */
  async #writePartial(
    file: string,
    data: Uint8Array | AsyncIterable<Uint8Array>,
    publish: (partial: string) => Promise<void>,
  ): Promise<void> {
    const partial = path.join(path.dirname(file), `.${path.basename(file)}.${randomUUID()}.partial`);
    let handle: FileHandle | null = null;
    try {
      handle = await createIn(partial);
      if (data instanceof Uint8Array) await writeFully(handle, data);
      else for await (const chunk of data) await writeFully(handle, chunk);
      await handle.sync();
      await handle.close();
      handle = null;
      await publish(partial);
      await syncFolder(path.dirname(file));
    } catch (error) {
      await handle?.close().catch(() => undefined);
      await rm(partial, { force: true }).catch(() => undefined);
      await this.#pruneEmpty(path.dirname(file));
      throw explain(file, 'cannot be written', error);
    }
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    checkPrefix(this.uri, prefix);
    const parent = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    yield* this.#walk(parent, prefix);
  }

  async *#walk(parent: string, prefix: string): AsyncGenerator<StoredObject> {
    const folder = parent === '' ? this.folder : await this.#locate(parent.slice(0, -1));
    const names = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
      if (isAbsent(error)) return [];
      throw explain(folder, 'cannot be listed', error);
    });
    const entries = names
      .filter((entry) => !partialName.test(entry.name))
      .map((entry) => ({ key: `${parent}${entry.name}${entry.isDirectory() ? '/' : ''}`, entry }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
    for (const { key, entry } of entries) {
      if (key.endsWith('/')) {
        if (key.startsWith(prefix) || prefix.startsWith(key)) yield* this.#walk(key, prefix);
      } else if (key.startsWith(prefix)) {
        // A link may lead to a folder, which is not an object, or out of the roots.
        if (entry.isFile() || (await this.size(key)) !== null) yield { key };
      }
    }
  }

  async *unfinished(prefix: string): AsyncIterable<UnfinishedWrite> {
    checkPrefix(this.uri, prefix);
    yield* this.#walkUnfinished(prefix.slice(0, prefix.lastIndexOf('/') + 1), prefix);
  }

  async *#walkUnfinished(parent: string, prefix: string): AsyncGenerator<UnfinishedWrite> {
    const folder = parent === '' ? this.folder : await this.#locate(parent.slice(0, -1));
    const entries = await readdir(folder, { withFileTypes: true }).catch((error: unknown) => {
      if (isAbsent(error)) return [];
      throw explain(folder, 'cannot be listed', error);
    });
    for (const entry of entries) {
      const inner = `${parent}${entry.name}/`;
      if (entry.isDirectory() && (inner.startsWith(prefix) || prefix.startsWith(inner)))
        yield* this.#walkUnfinished(inner, prefix);
      const name = partialName.exec(entry.name)?.[1];
      const key = `${parent}${name}`;
      if (name === undefined || !key.startsWith(prefix)) continue;
      const file = path.join(folder, entry.name);
      const info = await stat(file).catch(() => null); // finished in the meantime
      if (info === null) continue;
      const discard = async (): Promise<void> => {
        await rm(file, { force: true });
        await this.#pruneEmpty(folder);
      };
      yield { key, startedAt: info.mtime, discard };
    }
  }

  async delete(key: string): Promise<void> {
    const file = await this.#locate(key);
    try {
      await rm(file, { force: true });
    } catch (error) {
      throw explain(file, 'cannot be deleted', error);
    }
    await this.#pruneEmpty(path.dirname(file));
  }

  async deletePrefix(prefix: string): Promise<void> {
    checkPrefix(this.uri, prefix);
    const cut = prefix.lastIndexOf('/') + 1;
    const parent = cut === 0 ? this.folder : await this.#locate(prefix.slice(0, cut - 1));
    try {
      // Whole entries of the folder, so that files under construction go as well.
      const names = await readdir(parent).catch((error: unknown) => {
        if (isAbsent(error)) return [];
        throw error;
      });
      for (const name of names.filter((entry) => entry.startsWith(prefix.slice(cut)))) {
        await rm(path.join(parent, name), { recursive: true, force: true, maxRetries: 3 });
      }
    } catch (error) {
      throw explain(`${this.folder}/${prefix}`, 'cannot be deleted', error);
    }
    await this.#pruneEmpty(parent);
  }

  at(inner: string): Storage {
    checkKey(this.uri, inner);
    return new FolderStorage(path.join(this.folder, inner), this.#realRoots);
  }

  /** Removes empty folders below the root, as an object store has none. */
  async #pruneEmpty(folder: string): Promise<void> {
    for (let current = folder; current.startsWith(`${this.folder}/`); current = path.dirname(current)) {
      if (
        await rmdir(current).then(
          () => false,
          () => true,
        )
      )
        return;
    }
  }

  /** Returns the path of a key's file, after checking that neither the key nor a symbolic link on the way leads out. */
  async #locate(key: string): Promise<string> {
    checkKey(this.uri, key);
    const file = path.join(this.folder, key);
    if (this.#realRoots !== null) {
      const real = await realLocation(file);
      if (!isWithin(real, this.#realRoots))
        throw outsideRoots(`${file} (a link to ${real})`, this.#realRoots);
    }
    return file;
  }
}

/** Resolves symbolic links of the part of a path that exists. */
export async function realLocation(file: string): Promise<string> {
  const missing: string[] = [];
  for (let existing = file; ; existing = path.dirname(existing)) {
    const real = await realpath(existing).catch((error: unknown) => {
      if (isAbsent(error) && existing !== path.dirname(existing)) return null;
      throw explain(file, 'cannot be resolved', error);
    });
    if (real !== null) return path.join(real, ...missing);
    missing.unshift(path.basename(existing));
  }
}

async function openForReading(file: string): Promise<FileHandle> {
  return open(file).catch((error: unknown) => {
    throw explain(file, 'cannot be read', error);
  });
}

async function readFully(handle: FileHandle, file: string, buffer: Buffer, position: number): Promise<void> {
  for (let done = 0; done < buffer.length; ) {
    const { bytesRead } = await handle.read(
      buffer,
      done,
      Math.min(buffer.length - done, 1 << 30),
      position + done,
    );
    if (bytesRead === 0) {
      throw new StorageError(`${file}: ends at byte ${position + done}, before ${position + buffer.length}`);
    }
    done += bytesRead;
  }
}

async function writeFully(handle: FileHandle, data: Uint8Array): Promise<void> {
  for (let done = 0; done < data.length; ) {
    const { bytesWritten } = await handle.write(data, done, Math.min(data.length - done, 1 << 30));
    done += bytesWritten;
  }
}

/** Creates a new file and its folders; tries again when a folder was pruned in between. */
async function createIn(file: string): Promise<FileHandle> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await open(file, 'wx');
    } catch (error) {
      if (!isAbsent(error) || attempt === 3) throw error;
      await makeFolder(path.dirname(file));
    }
  }
}

/**
 * Makes a folder and those above it, each durable as an entry of its parent. (Node's own recursive mkdir says ENOENT
 * where the file system is read-only.)
 */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return;
    if (errorCode(error) !== 'ENOENT' || folder === path.dirname(folder)) throw error;
    await makeFolder(path.dirname(folder));
    await mkdir(folder).catch((retryError: unknown) => {
      if (errorCode(retryError) !== 'EEXIST') throw retryError;
    });
  }
  await syncFolder(path.dirname(folder));
}

async function linkExclusively(partial: string, file: string): Promise<boolean> {
  try {
    await link(partial, file);
    return true;
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
    // NFS may report EEXIST for a link that it made, when its answer was lost: the count of links tells (open(2)).
    return (await stat(partial)).nlink === 2;
  }
}

function errorCode(error: unknown): string | undefined {
  return types.isNativeError(error) ? (error as NodeJS.ErrnoException).code : undefined;
}

function isAbsent(error: unknown): boolean {
  const code = errorCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

const remedies: Record<string, string> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'a part of its path is a file, not a folder',
  EISDIR: 'it is a folder',
  ENOSPC: 'the disk is full: free some space, or put the run elsewhere (output_dir)',
  EDQUOT: "the user's disk quota is used up: free some space, or put the run elsewhere (output_dir)",
  EFBIG: 'the file is larger than the file system or the process limit (ulimit -f) allows',
  EACCES: 'permission denied: check the owner and mode of the folder',
  EPERM: 'not permitted: the file system may lack hard links, or the file is protected',
  EROFS: 'the file system is read-only: put the run elsewhere (output_dir)',
  ENAMETOOLONG: 'the name is too long for the file system',
  ELOOP: 'its symbolic links form a loop',
  EMFILE: 'too many open files: raise the limit (ulimit -n)',
  ENOTSUP: 'the file system lacks hard links, which the commit log needs: put the run on another one',
  EIO: 'the device reports an input/output error: check the disk',
  ESTALE: 'the network file system lost the file: check the mount',
};

/** Turns an error of the operating system into a StorageError that says what to do; passes others on. */
function explain(file: string, what: string, error: unknown): unknown {
  const code = errorCode(error);
  if (code === undefined || !types.isNativeError(error) || !('syscall' in error)) return error;
  return new StorageError(`${file}: ${what}: ${remedies[code] ?? error.message} (${code})`, { cause: error });
}
