import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { sha256 } from '../shared/digest.js';

let digest: Promise<string> | null = null;

/** sha256 over this folder's code: two compilers with one digest make the same plan of the same graph. */
export function compilerDigest(): Promise<string> {
  digest ??= digestOfFolder(fileURLToPath(new URL('.', import.meta.url)));
  return digest;
}

async function digestOfFolder(folder: string): Promise<string> {
  const names = (await readdir(folder, { recursive: true })).filter((name) => name.endsWith('.js')).sort();
  const files = await Promise.all(
    names.map(async (name) => `${name} ${sha256(await readFile(path.join(folder, name)))}`),
  );
  return sha256(files.join('\n'));
}
