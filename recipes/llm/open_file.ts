import { canonicalUri, openStorage, resolveRoots, type Storage } from '../../shared/storage/index.js';

/**
 * Opens the folder or bucket of a file that a command reads or writes, and returns it with the file's key in it.
 * @throws StorageError outside the process's storage roots
 */
export async function openFile(uri: string): Promise<{ storage: Storage; key: string }> {
  const location = canonicalUri(uri);
  const cut = location.lastIndexOf('/');
  const storage = await openStorage(location.slice(0, cut) || '/', resolveRoots(null));
  return { storage, key: location.slice(cut + 1) };
}
