/** Recipe text (YAML, of which JSON is a part) to a tree that keeps every position. */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
} from 'yaml';
import type { Problems } from './problems.js';
import { type MapEntry, type Origin, type Path, type Scalar, scalar, type TreeNode } from './tree.js';

/** A recipe is written by hand: anything longer is some other file. */
export const maxRecipeBytes = 1 << 20;

/** Bounds aliases, which can make a short text an enormous tree. */
const maxNodes = 20_000;

/** Maps and lists within each other: everything that walks a tree recurses. */
const maxDepth = 200;
const tooDeep = 'the recipe is nested too deeply';

export interface RecipeText {
  text: string;
  /** Shown in problems; null for text that came from no file. */
  file: string | null;
  base: string | null;
}

/** Decodes a recipe file's bytes, or reports why they are not text. */
export function decodeRecipe(bytes: Uint8Array, file: string, problems: Problems): string | null {
  const origin: Origin = { file, line: 1, column: 1, base: null, override: null };
  if (bytes.length > maxRecipeBytes) {
    problems.add(
      [],
      `the file has ${bytes.length} bytes; a recipe may have ${maxRecipeBytes}. Is it the right file?`,
      origin,
    );
    return null;
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const { line, column } = firstInvalidUtf8(bytes);
    problems.add([], 'the file is not valid UTF-8 here; save it as UTF-8', { ...origin, line, column });
    return null;
  }
}

function firstInvalidUtf8(bytes: Uint8Array): { line: number; column: number } {
  const valid = (end: number): boolean => {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, end), { stream: true });
      return true;
    } catch {
      return false;
    }
  };
  // The longest valid prefix, by bisection: validity of a prefix is monotone.
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (valid(middle)) low = middle;
    else high = middle - 1;
  }
  const before = new TextDecoder().decode(bytes.subarray(0, low), { stream: true });
  const line = before.split('\n').length;
  return { line, column: before.length - before.lastIndexOf('\n') };
}

/** Parses recipe text. Problems are added with their locations; returns null when there is no tree to go on with. */
export function parseRecipe({ text, file, base }: RecipeText, problems: Problems): TreeNode | null {
  const counter = new LineCounter();
  const at = (offset: number | undefined): Origin => {
    const position = offset === undefined ? { line: 1, col: 1 } : counter.linePos(offset);
    return { file, line: position.line, column: position.col, base, override: null };
  };
  if (Buffer.byteLength(text) > maxRecipeBytes) {
    problems.add([], `the recipe is longer than ${maxRecipeBytes} bytes`, at(undefined));
    return null;
  }
  let document: Document.Parsed;
  try {
    document = parseDocument(text, {
      lineCounter: counter,
      prettyErrors: false,
      // The library compares every key of a map with every other; the tree's own maps know them.
      uniqueKeys: false,
    });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    problems.add([], tooDeep, at(undefined));
    return null;
  }
  // A tab makes the parser misread what follows it; its own location says all that is needed.
  const tabs = document.errors.filter((error) => error.code === 'TAB_AS_INDENT');
  for (const error of tabs.length > 0 ? tabs : document.errors)
    problems.add([], explain(error), at(error.pos[0]));
  if (document.errors.length > 0) return null;
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    problems.add([], 'the recipe is empty', at(undefined));
    return null;
  }
  try {
    return new TreeBuilder(at, problems).build(document.contents, []);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    problems.add([], error.message.includes('Maximum call stack') ? tooDeep : error.message, at(undefined));
    return null;
  }
}

/** Returns the library's message, in a recipe author's words where those differ. */
function explain(error: YAMLError): string {
  switch (error.code) {
    case 'TAB_AS_INDENT':
      return 'YAML does not allow tabs as indentation; use spaces';
    case 'MULTIPLE_DOCS':
      return "a recipe is one YAML document; remove the second '---'";
    default:
      return `malformed YAML: ${error.message}`;
  }
}

class TreeBuilder {
  #nodes = 0;
  /** The nodes that aliases stand for, by name: of several, the latest before the node reached. */
  readonly #anchors = new Map<string, Node>();
  #aliasDepth = 0;
  readonly #at: (offset: number | undefined) => Origin;
  readonly #problems: Problems;

  constructor(at: (offset: number | undefined) => Origin, problems: Problems) {
    this.#at = at;
    this.#problems = problems;
  }

  build(node: Node | null | undefined, path: Path, fallback?: Origin): TreeNode {
    this.#nodes += 1;
    if (this.#nodes > maxNodes)
      throw new RangeError(
        `the recipe has more than ${maxNodes} values; do its aliases (*name) repeat large parts?`,
      );
    if (path.length > maxDepth) throw new RangeError(tooDeep);
    const origin = node?.range ? this.#at(node.range[0]) : (fallback ?? this.#at(undefined));
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target === undefined) {
        this.#problems.add(path, `the alias *${node.source} names no anchor before it`, origin);
        return scalar(null, origin);
      }
      this.#aliasDepth += 1;
      const built = this.build(target, path, origin);
      this.#aliasDepth -= 1;
      return built;
    }
    if (node?.anchor !== undefined && this.#aliasDepth === 0) this.#anchors.set(node.anchor, node);
    if (isMap(node)) {
      const entries = new Map<string, MapEntry>();
      for (const pair of node.items) {
        const keyNode = pair.key as Node;
        const keyOrigin = keyNode.range ? this.#at(keyNode.range[0]) : origin;
        if (!isScalar(keyNode) || (typeof keyNode.value !== 'string' && typeof keyNode.value !== 'number')) {
          this.#problems.add(path, 'a key must be plain text', keyOrigin);
          continue;
        }
        const key =
          typeof keyNode.value === 'number' ? (keyNode.source ?? String(keyNode.value)) : keyNode.value;
        if (key === '__proto__') {
          this.#problems.add(path, "'__proto__' cannot be a key", keyOrigin);
          continue;
        }
        if (entries.has(key)) {
          this.#problems.add([], 'this key appears twice in the same map; remove one', keyOrigin);
          continue;
        }
        entries.set(key, {
          origin: keyOrigin,
          value: this.build(pair.value as Node | null, [...path, key], keyOrigin),
        });
      }
      return { kind: 'map', entries, origin };
    }
    if (isSeq(node)) {
      return {
        kind: 'list',
        items: node.items.map((item, index) => this.build(item as Node, [...path, index], origin)),
        origin,
      };
    }
    const value: unknown = isScalar(node) ? node.value : null;
    if (typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value))) {
      this.#problems.add(path, `${String(value)} is not a number a recipe can hold`, origin);
      return scalar(null, origin);
    }
    return scalar((value ?? null) as Scalar, origin);
  }
}

/** Returns a recipe that is already an object as a tree without locations. */
export function buildTree(value: unknown, base: string | null, problems: Problems): TreeNode {
  const origin: Origin = { file: null, line: null, column: null, base, override: null };
  let nodes = 0;
  const build = (part: unknown, path: Path): TreeNode => {
    nodes += 1;
    if (nodes === maxNodes + 1) problems.add([], `the recipe has more than ${maxNodes} values`, origin);
    if (path.length > maxDepth) problems.add([], tooDeep, origin);
    if (nodes > maxNodes || path.length > maxDepth) return scalar(null, origin);
    if (Array.isArray(part))
      return { kind: 'list', items: part.map((item, index) => build(item, [...path, index])), origin };
    if (typeof part === 'object' && part !== null) {
      const entries = new Map<string, MapEntry>();
      for (const [key, entry] of Object.entries(part)) {
        if (entry === undefined) continue;
        if (key === '__proto__') problems.add(path, "'__proto__' cannot be a key", origin);
        else entries.set(key, { origin, value: build(entry, [...path, key]) });
      }
      return { kind: 'map', entries, origin };
    }
    if (part === null || typeof part === 'string' || typeof part === 'boolean' || Number.isFinite(part))
      return scalar(part as Scalar, origin);
    problems.add(path, `a ${typeof part} cannot be a value of a recipe`, origin);
    return scalar(null, origin);
  };
  return build(value, []);
}
