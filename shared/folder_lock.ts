/**
 * A lock among processes, on local and network file systems: a folder with one entry, whose name says who holds it.
 * It appears whole, as a renamed folder does; taking over an abandoned one is a rename of that entry, which succeeds for
 * one process only.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, rmdir, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StorageError } from './errors.js';
import { partialName } from './files.js';
import { ownProcessTag, type ProcessState, taggedProcessState } from './process_identity.js';

export interface LockOptions {
  signal: AbortSignal | null;
  /** Called once, after a second, with the holder's and the lock's name. */
  onWait: (text: string) => void;
  /**
   * ms without renewal after which the lock of a process that cannot be judged from here (on another host, say) is taken
   * over; `staleAfter` where nothing speaks for another value.
   */
  staleAfter: number;
}

/** ms */
export const staleAfter = 60_000;
/** ms; several fit into `staleAfter`, so that a busy holder keeps its lock. */
const renewalInterval = 5_000;
const pollInterval = 100;
const noticeAfter = 1_000;

/**
 * Runs `work` while no other process does so under this lock. The lock's parent folder must exist.
 * @throws StorageError when the lock cannot be made, for another reason than that somebody holds it
 */
export async function withLock<T>(lock: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  const name = newHolderName();
  await wait(lock, name, options);
  return hold(lock, name, work);
}

/** Runs `work` unless a process that may be running holds the lock; returns null then. @throws StorageError */
export async function unlessLocked<T>(lock: string, work: () => Promise<T>): Promise<T | null> {
  const name = newHolderName();
  const holder = await findHolder(lock);
  const isTaken =
    holder === null
      ? await create(lock, name)
      : holderState(holder.name) === 'gone' && (await takeOver(lock, holder.name, name));
  return isTaken ? hold(lock, name, work) : null;
}

async function hold<T>(lock: string, name: string, work: () => Promise<T>): Promise<T> {
  const entry = path.join(lock, name);
  const renew = () => {
    const now = new Date();
    // Gone only when somebody took us for stopped.
    utimes(entry, now, now).catch(() => undefined);
  };
  renew();
  const timer = setInterval(renew, renewalInterval).unref();
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await rm(entry, { force: true });
    await rmdir(lock).catch(() => undefined); // the next holder's by now
  }
}

async function wait(lock: string, name: string, options: LockOptions): Promise<void> {
  const started = performance.now();
  let isNoticed = false;
  let last: Holder | null = null;
  let unchangedSince = started;
  for (;;) {
    options.signal?.throwIfAborted();
    const holder = await findHolder(lock);
    if (holder === null) {
      if (await create(lock, name)) return;
      continue;
    }
    const now = performance.now();
    // Changes are observed, not compared with the clock: that of another host may differ.
    if (last?.name !== holder.name || last.renewed !== holder.renewed) unchangedSince = now;
    last = holder;
    const state = holderState(holder.name);
    const isStale = state === 'unknown' && now - unchangedSince > options.staleAfter;
    if ((state === 'gone' || isStale) && (await takeOver(lock, holder.name, name))) return;
    if (!isNoticed && now - started > noticeAfter) {
      isNoticed = true;
      options.onWait(`waiting for ${describeHolder(holder.name)}, which holds ${lock}`);
    }
    await sleep(pollInterval);
  }
}

interface Holder {
  name: string;
  /** Modification time, ms. */
  renewed: number;
}

/** Returns a new name of a holder: `<process tag>.<uuid>.<host>`. */
function newHolderName(): string {
  return `${ownProcessTag()}.${randomUUID()}.${hostname()}`;
}

const holderState = (holder: string): ProcessState => taggedProcessState(holder.split('.')[0]!);

function describeHolder(holder: string): string {
  const [tag, , ...host] = holder.split('.');
  return `process ${tag!.split('-')[1]} on ${host.join('.')}`;
}

/** Finds the holder of a lock; null when nobody holds it: it is absent, or its holder's entry is being removed. */
async function findHolder(lock: string): Promise<Holder | null> {
  try {
    const [name] = await readdir(lock);
    if (name === undefined) return null;
    return { name, renewed: (await stat(path.join(lock, name))).mtimeMs };
  } catch (error) {
    if (isCode(error, 'ENOENT')) return null;
    throw cannotLock(lock, error);
  }
}

/** Returns whether the lock was free and is now held by this process. */
async function create(lock: string, name: string): Promise<boolean> {
  const partial = partialName(lock);
  try {
    await mkdir(partial);
    await writeFile(path.join(partial, name), '');
    await rename(partial, lock); // replaces an empty folder only
    return true;
  } catch (error) {
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    if (isCode(error, 'ENOTEMPTY', 'EEXIST')) return false;
    throw cannotLock(lock, error);
  }
}

/** Returns whether this process, of all that tried, now has the lock of `holder`. */
async function takeOver(lock: string, holder: string, name: string): Promise<boolean> {
  try {
    await rename(path.join(lock, holder), path.join(lock, name));
    return true;
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false;
    throw cannotLock(lock, error);
  }
}

function isCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? '');
}

function cannotLock(lock: string, cause: unknown): StorageError {
  const { message } = cause as Error;
  return new StorageError(
    `${lock}: cannot be locked: ${message}; make its folder writable, or choose another`,
    {
      cause,
    },
  );
}
