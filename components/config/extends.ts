/** `extends:` takes other files as templates; the recipe is laid over them. */
import path from 'node:path';
import { merge, type Place } from './merge.js';
import { decodeRecipe, parseRecipe } from './parse.js';
import type { Problems } from './problems.js';
import type { MapNode, TreeNode } from './tree.js';

export type ReadFile = (file: string) => Promise<Uint8Array>;

/** Replaces `extends` by what it names, template under recipe, first template lowest. `chain` holds the files on the way here. */
export async function applyTemplates(
  root: TreeNode,
  chain: readonly string[],
  read: ReadFile,
  problems: Problems,
  place: Place,
): Promise<TreeNode> {
  if (root.kind !== 'map') return root;
  const entry = root.entries.get('extends');
  if (entry === undefined) return root;
  const entries = new Map(root.entries);
  entries.delete('extends');
  const own: MapNode = { ...root, entries };

  let under: TreeNode | null = null;
  for (const node of entry.value.kind === 'list' ? entry.value.items : [entry.value]) {
    if (node.kind !== 'scalar' || typeof node.value !== 'string' || node.value === '') {
      problems.add(['extends'], 'expected the path of a recipe file, or a list of them', node.origin);
      continue;
    }
    const file = path.resolve(node.origin.base ?? '.', node.value);
    if (chain.includes(file)) {
      const circle = [...chain.slice(chain.indexOf(file)), file].map((name) => path.basename(name));
      problems.add(
        ['extends'],
        `templates extend each other in a circle: ${circle.join(' → ')}`,
        node.origin,
      );
      continue;
    }
    const template = await readTemplate(file, node.value, read, problems, () => node.origin);
    if (template === null) continue;
    const whole = await applyTemplates(template, [...chain, file], read, problems, place);
    under = under === null ? whole : merge(under, whole, place);
  }
  return under === null ? own : merge(under, own, place);
}

async function readTemplate(
  file: string,
  shown: string,
  read: ReadFile,
  problems: Problems,
  origin: () => TreeNode['origin'],
): Promise<TreeNode | null> {
  let bytes: Uint8Array;
  try {
    bytes = await read(file);
  } catch (error) {
    problems.add(
      ['extends'],
      `cannot read the template '${shown}' (${file}): ${readFailure(error)}`,
      origin(),
    );
    return null;
  }
  const text = decodeRecipe(bytes, file, problems);
  if (text === null) return null;
  const tree = parseRecipe({ text, file, base: path.dirname(file) }, problems);
  if (tree !== null && tree.kind !== 'map') {
    problems.add([], 'a recipe is a map of keys', tree.origin);
    return null;
  }
  return tree;
}

/** Why a file could not be read, in plain words. */
export function readFailure(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EISDIR') return 'it is a folder';
  if (code === 'EACCES') return 'reading it is not permitted';
  return error instanceof Error ? error.message : String(error);
}
