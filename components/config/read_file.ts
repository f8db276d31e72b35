/** Reads the files of recipes and their templates, and keeps what recipes name within a worker's roots. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { StorageError } from '../../shared/errors.js';
import { readablePath } from '../../shared/storage/index.js';
import { outsideRoots } from '../../shared/storage/roots.js';
import { type JsonSchema, pathsIn } from './json_schema.js';
import { maxRecipeBytes } from './parse.js';
import type { Problems } from './problems.js';
import { nodeAt, type TreeNode } from './tree.js';

/** Null where the permissions of the process's user are the only bound. */
export type Roots = readonly string[] | null;

/** What made a recipe file unreadable; the caller says which. */
class UnreadableRecipe extends Error {}

/** Returns a recipe's bytes: a regular file within the roots, no longer than a recipe may be. */
export async function readRecipeFile(file: string, roots: Roots): Promise<Uint8Array> {
  const place = await readablePath(file, null, roots);
  // A pipe that nobody writes to would block here for ever.
  const handle = await open(place, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const info = await handle.stat();
    if (info.isDirectory()) throw new UnreadableRecipe('it is a folder');
    if (!info.isFile()) throw new UnreadableRecipe('it is a device or a pipe, not a file');
    if (info.size > maxRecipeBytes) {
      throw new UnreadableRecipe(
        `it has ${info.size} bytes, and a recipe may have ${maxRecipeBytes}; is it the right file?`,
      );
    }
    const bytes = Buffer.alloc(info.size);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** Says why a file could not be read, in plain words. */
export function readFailure(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES') return 'reading it is not permitted';
  return error instanceof Error ? error.message : String(error);
}

/** Adds a problem for every path of a recipe that leads out of the roots. `value` has its paths absolute. */
export async function refuseOutsideRoots(
  value: unknown,
  tree: TreeNode,
  jsonSchema: JsonSchema,
  roots: readonly string[],
  problems: Problems,
): Promise<void> {
  for (const { path: at } of pathsIn(jsonSchema, value)) {
    const written = at.reduce<unknown>((inner, step) => (inner as Record<string, unknown>)[step], value);
    // Ids of the hub and URIs of object stores have bounds of their own.
    if (!/^(\/|file:\/\/)/.test(String(written))) continue;
    try {
      await readablePath(String(written), null, roots);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      const node = nodeAt(tree, at);
      const placeholder = node?.kind === 'scalar' ? node.placeholder : null;
      const message = placeholder === null ? error.message : outsideRoots(placeholder, roots).message;
      problems.add(at, message, node?.origin ?? null);
    }
  }
}
