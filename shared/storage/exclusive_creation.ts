/** Proof that a storage creates exclusively: everything that the commit log promises rests on it. */
import { randomUUID } from 'node:crypto';
import { StorageError } from '../errors.js';
import type { Storage } from './storage.js';

export const probePrefix = '.temper-probe-';

/** Results by location: one probe per process is enough. */
const probes = new Map<string, Promise<void>>();

/**
 * Creates an object twice, with different contents, and deletes it again.
 *
 * @throws StorageError when the second creation succeeds, or when the storage cannot create exclusively at all
 */
export function requireExclusiveCreation(storage: Storage): Promise<void> {
  const earlierProbe = probes.get(storage.uri);
  if (earlierProbe !== undefined) return earlierProbe;
  const probe = probeExclusiveCreation(storage);
  probes.set(storage.uri, probe);
  // What failed may be repaired while the process lives.
  probe.catch(() => probes.delete(storage.uri));
  return probe;
}

async function probeExclusiveCreation(storage: Storage): Promise<void> {
  const key = `${probePrefix}${randomUUID()}`;
  const [first, second] = [Buffer.from('first writer'), Buffer.from('second')];
  try {
    const created = await storage.createExclusive(key, first);
    const createdAgain = await storage.createExclusive(key, second);
    if (created && !createdAgain && (await storage.read(key)).equals(first)) return;
  } finally {
    await storage.delete(key).catch(() => undefined);
  }
  throw new StorageError(
    `${storage.uri}: an object that existed was created again, so this storage does not honor exclusive creation ` +
      `(${storage.folder === null ? 'a PUT with If-None-Match: *' : 'link(2)'}), and two processes could hold one run: ` +
      'use Amazon S3, another object store with conditional writes, or a folder on a file system with hard links',
  );
}
