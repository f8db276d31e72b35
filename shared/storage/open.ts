import { MissingPackage } from '../errors.js';
import { FolderStorage, realLocation } from './folder.js';
import { canonicalUri, isS3, isWithin, outsideRoots } from './roots.js';
import type { Storage } from './storage.js';

export interface OpenStorageOptions {
  /** Roots in which the process may read and write (`resolveRoots`); null allows everything. */
  roots: readonly string[] | null;
}

/**
 * Opens a storage rooted at a plain path, `file://` or `s3://bucket/prefix`. Neither has to exist: a folder is made by
 * the first write.
 * @throws StorageError outside the roots, MissingPackage where S3's client is not installed
 */
export async function openStorage(uri: string, { roots }: OpenStorageOptions): Promise<Storage> {
  const location = canonicalUri(uri);
  if (isS3(location)) {
    if (!isWithin(location, roots)) throw outsideRoots(location, roots ?? []);
    const { openS3 } = await import('./s3.js').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
      throw new MissingPackage('@aws-sdk/client-s3', `storage at ${location}`);
    });
    return openS3(location);
  }
  if (roots === null) return new FolderStorage(location, null);
  const folders = roots.filter((root) => !isS3(root));
  if (!isWithin(location, folders)) throw outsideRoots(location, roots);
  const realRoots = await Promise.all(folders.map((root) => realLocation(root)));
  const real = await realLocation(location);
  if (!isWithin(real, realRoots)) throw outsideRoots(`${location} (a link to ${real})`, roots);
  return new FolderStorage(location, realRoots);
}
