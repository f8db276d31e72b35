/** `extends:` takes other files as templates; the recipe is laid over them. */
import path from 'node:path';
import { merge, type SchemaPosition } from './merge.js';
import { decodeRecipe, parseRecipe } from './parse.js';
import type { Problems } from './problems.js';
import { type Roots, readFailure, readRecipeFile } from './read_file.js';
import type { MapNode, Origin, TreeNode } from './tree.js';

/** Most templates that a recipe and its templates may name together: more come from a mistake, or from malice. */
const maxTemplates = 256;

/**
 * Replaces `extends` by what it names, template under recipe, first template lowest. Each file is read once, however
 * often it is named.
 *
 * @param chain the files on the way to `root`, itself included
 */
export async function applyTemplates(
  root: TreeNode,
  chain: readonly string[],
  roots: Roots,
  problems: Problems,
  position: SchemaPosition,
): Promise<TreeNode> {
  return new TemplateLoader(roots, problems, position).apply(root, chain);
}

class TemplateLoader {
  readonly #roots: Roots;
  readonly #problems: Problems;
  readonly #position: SchemaPosition;
  /** Templates by file, with their own templates applied; null for those that cannot be read. */
  readonly #loaded = new Map<string, TreeNode | null>();
  #named = 0;

  constructor(roots: Roots, problems: Problems, position: SchemaPosition) {
    this.#roots = roots;
    this.#problems = problems;
    this.#position = position;
  }

  async apply(root: TreeNode, chain: readonly string[]): Promise<TreeNode> {
    if (root.kind !== 'map') return root;
    const entry = root.entries.get('extends');
    if (entry === undefined) return root;
    const entries = new Map(root.entries);
    entries.delete('extends');
    const ownEntries: MapNode = { ...root, entries };

    let under: TreeNode | null = null;
    for (const node of entry.value.kind === 'list' ? entry.value.items : [entry.value]) {
      const template = await this.#template(node, chain);
      if (template === null) continue;
      under = under === null ? template : merge(under, template, this.#position);
    }
    return under === null ? ownEntries : merge(under, ownEntries, this.#position);
  }

  async #template(node: TreeNode, chain: readonly string[]): Promise<TreeNode | null> {
    if (node.kind !== 'scalar' || typeof node.value !== 'string' || node.value === '') {
      this.#problems.add(['extends'], 'expected the path of a recipe file, or a list of them', node.origin);
      return null;
    }
    this.#named += 1;
    if (this.#named > maxTemplates) {
      if (this.#named === maxTemplates + 1)
        this.#problems.add(['extends'], `more than ${maxTemplates} templates are named`, node.origin);
      return null;
    }
    const file = path.resolve(node.origin.base ?? '.', node.value);
    if (chain.includes(file)) {
      const circle = [...chain.slice(chain.indexOf(file)), file].map((name) => path.basename(name));
      this.#problems.add(
        ['extends'],
        `templates extend each other in a circle: ${circle.join(' → ')}`,
        node.origin,
      );
      return null;
    }
    let loaded = this.#loaded.get(file);
    if (loaded === undefined) {
      const template = await this.#read(file, node.value, node.origin);
      loaded = template === null ? null : await this.apply(template, [...chain, file]);
      this.#loaded.set(file, loaded);
    }
    return loaded;
  }

  async #read(file: string, displayName: string, origin: Origin): Promise<TreeNode | null> {
    let bytes: Uint8Array;
    try {
      bytes = await readRecipeFile(file, this.#roots);
    } catch (error) {
      this.#problems.add(
        ['extends'],
        `cannot read the template '${displayName}' (${file}): ${readFailure(error)}`,
        origin,
      );
      return null;
    }
    const text = decodeRecipe(bytes, file, this.#problems);
    if (text === null) return null;
    const tree = parseRecipe({ text, file, base: path.dirname(file) }, this.#problems);
    if (tree !== null && tree.kind !== 'map') {
      this.#problems.add([], 'a recipe is a map of keys', tree.origin);
      return null;
    }
    return tree;
  }
}
