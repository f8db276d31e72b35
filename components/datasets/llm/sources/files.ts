/** Finds the files of a recipe's `path`, and the format of a file. */
import type { Stats } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { DataError } from '../../../../shared/errors.js';
import { compileGlob, globBase, isGlob } from '../../../../shared/patterns/glob.js';
import { readablePath } from '../../../../shared/storage/index.js';

export const fileFormats = ['json', 'jsonl', 'csv', 'tsv', 'parquet', 'text'] as const;
export type FileFormat = (typeof fileFormats)[number];

export interface DataFile {
  path: string;
  bytes: number;
}

const formatOfExtension: Record<string, FileFormat> = {
  '.json': 'json',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.parquet': 'parquet',
  '.txt': 'text',
  '.text': 'text',
  '.md': 'text',
};

/**
 * Returns the files that paths, globs and folders name, in the order given and by name within a folder. Links within
 * folders are passed over.
 *
 * @throws DataError for what is not there; StorageError outside the process's storage roots
 */
export async function resolveFiles(paths: string | readonly string[]): Promise<DataFile[]> {
  const files: DataFile[] = [];
  for (const pattern of typeof paths === 'string' ? [paths] : paths) {
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(pattern) && !pattern.startsWith('file://')) {
      throw new DataError(
        `${pattern}: data is read from local files; copy it to the worker and give its path`,
      );
    }
    const local = await readablePath(pattern, 'path');
    const info = await statPath(local);
    if (info?.isFile()) {
      files.push({ path: local, bytes: info.size });
    } else if (info?.isDirectory()) {
      const folderFiles = await filesUnder(local, (name) => path.extname(name) in formatOfExtension);
      if (folderFiles.length === 0)
        throw new DataError(`${local}: the folder has no file of a known kind (${knownExtensions()})`);
      files.push(...folderFiles);
    } else if (info === null && isGlob(local)) {
      const base = globBase(local);
      const matches = compileGlob(local, 'path', { dot: false });
      const exists = (await statPath(base)) !== null;
      const matchingFiles = exists ? await filesUnder(base, (_, fullPath) => matches(fullPath)) : [];
      if (matchingFiles.length === 0) throw new DataError(`${local}: no file matches this pattern`);
      files.push(...matchingFiles);
    } else {
      throw new DataError(`${local}: there is no such file or folder`);
    }
  }
  return files;
}

/** Returns the state of a path; null when nothing exists. */
async function statPath(file: string): Promise<Stats | null> {
  try {
    return await stat(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw unreadable(file, error);
  }
}

/** Returns the error for a file or folder that is there and cannot be read; keeps what the system says. */
function unreadable(file: string, cause: unknown): DataError {
  return new DataError(
    `${file}: cannot be read: ${(cause as Error).message}; let the worker's user read it`,
    { cause },
  );
}

async function filesUnder(
  folder: string,
  matches: (name: string, fullPath: string) => boolean,
): Promise<DataFile[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch((error: unknown) => {
    throw unreadable(folder, error);
  });
  const files: DataFile[] = [];
  for (const entry of entries) {
    const fullPath = path.join(entry.parentPath, entry.name);
    if (entry.isFile() && matches(entry.name, fullPath))
      files.push({ path: fullPath, bytes: (await stat(fullPath)).size });
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

const knownExtensions = (): string => Object.keys(formatOfExtension).join(', ');

/** Returns the format by extension; a `.json` file that holds one object per line is JSONL. */
export async function detectFormat(file: string, declared: FileFormat | 'auto'): Promise<FileFormat> {
  if (declared !== 'auto') return declared;
  const format = formatOfExtension[path.extname(file).toLowerCase()];
  if (format === undefined) {
    throw new DataError(
      `${file}: the extension is not one of ${knownExtensions()}; say what it is with 'format'`,
    );
  }
  return format === 'json' && (await holdsLines(file)) ? 'jsonl' : format;
}

/** Returns whether the first line is a whole JSON object, and something follows it. */
async function holdsLines(file: string): Promise<boolean> {
  const handle = await open(file, 'r');
  try {
    const buffer = Buffer.alloc(1 << 20);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    const text = buffer
      .subarray(0, bytesRead)
      .toString('utf8')
      .replace(/^\uFEFF/, '');
    const end = text.indexOf('\n');
    if (end < 0 || text.slice(end).trim() === '' || !text.startsWith('{')) return false;
    const first: unknown = JSON.parse(text.slice(0, end));
    return typeof first === 'object';
  } catch (error) {
    if (error instanceof SyntaxError) return false;
    throw error;
  } finally {
    await handle.close();
  }
}
