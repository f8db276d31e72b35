import { StorageError } from '../errors.js';

/** @throws StorageError unless `key` is relative, uses `/`, and names something below the root without climbing */
export function checkKey(root: string, key: string): void {
  const wrong = keyProblem(key);
  if (wrong !== null) throw new StorageError(`${root}: the key ${JSON.stringify(key)} ${wrong}`);
}

/** Checks a prefix like `checkKey`: it is empty, or a key that may end in `/`. */
export function checkPrefix(root: string, prefix: string): void {
  if (prefix !== '') checkKey(root, prefix.endsWith('/') ? prefix.slice(0, -1) : prefix);
}

function keyProblem(key: string): string | null {
  if (key === '') return 'is empty';
  if (key.includes('\0')) return 'holds a NUL';
  if (key.startsWith('/')) return 'is absolute; keys are relative to the storage';
  const segments = key.split('/');
  if (segments.includes('..') || segments.includes('.'))
    return 'leads out of its folder; keys may not contain `.` or `..`';
  if (segments.includes('')) return 'has an empty part';
  return null;
}
