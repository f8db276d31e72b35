/** The folder in which processes of this machine share their state: local, private to the user, gone after a reboot. */
import { lstat, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { StorageError } from '../../shared/errors.js';

/**
 * Returns `/tmp/temper-<user id>`, or what TEMPER_RUNTIME names, after creating it. Never the cache, which hosts may share,
 * nor `$XDG_RUNTIME_DIR`, which not all processes of a user have and which goes when the user logs out.
 * @throws StorageError where it is a link, belongs to somebody else, or others may enter it
 */
export async function openRuntimeFolder(environment: NodeJS.ProcessEnv = process.env): Promise<string> {
  const user = process.getuid?.() ?? 0;
  const folder = path.resolve(environment.TEMPER_RUNTIME || `/tmp/temper-${user}`);
  const remedy = 'remove it, or set TEMPER_RUNTIME to another folder';
  try {
    await mkdir(path.dirname(folder), { recursive: true });
    await mkdir(folder, { mode: 0o700 });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== 'EEXIST') {
      throw new StorageError(
        `${folder}: cannot be created: ${message}; set TEMPER_RUNTIME to another folder`,
        {
          cause,
        },
      );
    }
  }
  const entry = await lstat(folder);
  if (!entry.isDirectory())
    throw new StorageError(`${folder}: is not a folder (links are refused): ${remedy}`);
  if (entry.uid !== user)
    throw new StorageError(`${folder}: belongs to user ${entry.uid}, not ${user}: ${remedy}`);
  if ((entry.mode & 0o077) !== 0) {
    const mode = (entry.mode & 0o777).toString(8);
    throw new StorageError(
      `${folder}: other users may access it (mode ${mode}): run 'chmod 700' on it, or ${remedy}`,
    );
  }
  return folder;
}
