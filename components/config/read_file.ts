/** Reads the files of recipes and their templates, and keeps what recipes name within a worker's roots. */
import { StorageError } from '../../shared/errors.js';
import { errorMessage } from '../../shared/format.js';
import { readRegularFile } from '../../shared/regular_file.js';
import { readablePath } from '../../shared/storage/index.js';
import { outsideRoots } from '../../shared/storage/roots.js';
import { type JsonSchema, pathsIn } from './json_schema.js';
import { maxRecipeBytes } from './parse.js';
import type { Problems } from './problems.js';
import { nodeAt, type TreeNode } from './tree.js';

/** The folders that may be read; null when the permissions of the process's user are the only bound. */
export type Roots = readonly string[] | null;

/** Returns a recipe's bytes: a regular file within the roots, no longer than a recipe may be. */
export async function readRecipeFile(file: string, roots: Roots): Promise<Uint8Array> {
  return readRegularFile(await readablePath(file, null, roots), maxRecipeBytes);
}

/** Says why a file could not be read, in plain words. */
export function readFailure(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES') return 'reading it is not permitted';
  return errorMessage(error);
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
    const text = at.reduce<unknown>((inner, step) => (inner as Record<string, unknown>)[step], value);
    // Ids of the hub and URIs of object stores have bounds of their own.
    if (!/^(\/|file:\/\/)/.test(String(text))) continue;
    try {
      await readablePath(String(text), null, roots);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      const node = nodeAt(tree, at);
      const placeholder = node?.kind === 'scalar' ? node.placeholder : null;
      const message = placeholder === null ? error.message : outsideRoots(placeholder, roots).message;
      problems.add(at, message, node?.origin ?? null);
    }
  }
}
