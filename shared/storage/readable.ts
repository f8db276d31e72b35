/** Decides where a process may read what a recipe names: within its storage roots, which hold the cache, and among the examples. */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { realLocation } from './folder.js';
import { canonicalUri, isS3, isWithin, outsideRoots, resolveRoots } from './roots.js';

/** Recipes and data that are installed with Temper: every worker may read them. */
const examples = fileURLToPath(new URL('../../../examples', import.meta.url));

/**
 * Returns the path under which a local file or folder is read: with symbolic links resolved, so that what was checked is
 * what is opened. Where no roots bound the process, the path as it is. The file need not exist.
 *
 * @param location a path or a file URI
 * @param key what names the location, for the error; null when the caller says it
 * @param roots null when the permissions of the process's user are the only bound
 * @throws StorageError outside the roots, naming key, path and roots
 */
export async function readablePath(
  location: string,
  key: string | null,
  roots: readonly string[] | null = resolveRoots(null).roots,
): Promise<string> {
  const file = canonicalUri(location);
  if (roots === null) return file;
  const allowed = [...roots.filter((root) => !isS3(root)), examples];
  const realRoots = await Promise.all(allowed.map((root) => realLocation(root)));
  const real = await realLocation(file);
  if (isWithin(real, realRoots)) return real;
  const target = real === file ? file : `${file} (which is ${real})`;
  throw outsideRoots(key === null ? target : `${key}: ${target}`, roots);
}

/** Does the same for a folder whose files are all read: none of them may be a link that leads out of the roots. */
export async function readableFolder(
  location: string,
  key: string,
  roots: readonly string[] | null = resolveRoots(null).roots,
): Promise<string> {
  const folder = await readablePath(location, key, roots);
  if (roots === null) return folder;
  const entries = await readdir(folder, { withFileTypes: true });
  const links = entries.filter((entry) => entry.isSymbolicLink());
  await Promise.all(links.map(({ name }) => readablePath(path.join(folder, name), key, roots)));
  return folder;
}
