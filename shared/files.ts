/** The one way to write local files and folders so that each appears under its name whole or not at all. */
import { randomUUID } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { ownProcessTag, taggedProcessState } from './process_identity.js';

export type FileContent = Uint8Array | string | AsyncIterable<Uint8Array>;

/** Returns whether there is a file or folder that can be inspected. */
export async function exists(file: string): Promise<boolean> {
  return (await stat(file).catch(() => null)) !== null;
}

/**
 * Writes a file that survives a power failure: under a name of its own, synced, renamed, and the folder synced. Leaves
 * nothing behind when it fails. The folder must exist.
 */
export async function writeAtomically(file: string, content: FileContent): Promise<void> {
  await write(file, content, true);
  await syncFolder(path.dirname(file));
}

/**
 * Writes a file that a killed process never leaves torn, but a power failure may: for content that carries a checksum, or
 * that is worthless after a restart.
 */
export async function writeUnsynced(file: string, content: FileContent): Promise<void> {
  await write(file, content, false);
}

async function write(file: string, content: FileContent, sync: boolean): Promise<void> {
  const partial = partialName(file);
  let handle: FileHandle | null = null;
  try {
    handle = await open(partial, 'wx');
    const chunks = typeof content === 'string' || content instanceof Uint8Array ? [content] : content;
    for await (const chunk of chunks) await handle.writeFile(chunk);
    if (sync) await handle.sync();
    await handle.close();
    handle = null;
    await rename(partial, file);
  } catch (error) {
    await handle?.close().catch(() => undefined);
    await rm(partial, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Returns the name under which this process builds `final`: `removeAbandoned` finds it when the process is gone. */
export function partialName(final: string): string {
  return `${final}.${ownProcessTag()}.${randomUUID()}.partial`;
}

/**
 * Gives a finished folder, whose files are synced, its name. Returns false, and changes nothing, where a folder with
 * content has that name already.
 */
export async function publishFolder(partial: string, final: string): Promise<boolean> {
  await syncFolder(partial);
  try {
    await rename(partial, final);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
    return false;
  }
  await syncFolder(path.dirname(final));
  return true;
}

/** Makes the names in a folder durable. Some network file systems do not sync folders; their renames are durable. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EINVAL' && code !== 'ENOTSUP') throw error;
  } finally {
    await handle.close();
  }
}

/** ms without a change after which the unfinished work of a process that cannot be judged from here is nobody's. */
const unclaimedTime = 24 * 3_600_000;
/** ms without a change after which work that any process could resume is nobody's. */
const resumableTime = 30 * unclaimedTime;

/**
 * Removes from a folder the files and folders named by `partialName` whose processes are gone. Work that belongs to no
 * one process and is resumed by the next, named `*.work` or `*.partial` alone, goes when nobody has for a month.
 */
export async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const entry = path.join(folder, name);
    if (await isAbandoned(entry)) await rm(entry, { recursive: true, force: true }).catch(() => undefined);
  }
}

async function isAbandoned(entry: string): Promise<boolean> {
  if (!/\.(partial|work)$/.test(entry)) return false;
  const tag = /\.([^.]+)\.[0-9a-f-]{36}\.partial$/.exec(entry)?.[1];
  const state = tag === undefined ? 'unknown' : taggedProcessState(tag);
  if (state !== 'unknown') return state === 'gone';
  const changed = (await stat(entry).catch(() => null))?.mtimeMs ?? Date.now();
  return Date.now() - changed > (tag === undefined ? resumableTime : unclaimedTime);
}
