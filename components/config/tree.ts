/** A recipe as a tree whose every node has the location at which it was written. */

/** The location where something was written. A recipe given as an object, and an override, have no file. */
export interface Origin {
  file: string | null;
  /** Counted from 1. */
  line: number | null;
  column: number | null;
  /** Folder (or URI) that relative paths written here start from. */
  base: string | null;
  /** The override this came from, as typed. */
  override: string | null;
}

export type Scalar = string | number | boolean | null;

export interface ScalarNode {
  kind: 'scalar';
  value: Scalar;
  origin: Origin;
  /** The value was computed from the environment: it is never shown; `placeholder` is shown instead. */
  placeholder: string | null;
}

export interface ListNode {
  kind: 'list';
  items: TreeNode[];
  origin: Origin;
}

export interface MapEntry {
  /** Location of the key. */
  origin: Origin;
  value: TreeNode;
}

export interface MapNode {
  kind: 'map';
  entries: Map<string, MapEntry>;
  origin: Origin;
}

export type TreeNode = ScalarNode | ListNode | MapNode;

export type Path = readonly (string | number)[];

export const scalar = (value: Scalar, origin: Origin, placeholder: string | null = null): ScalarNode => ({
  kind: 'scalar',
  value,
  origin,
  placeholder,
});

/** Returns a path as text, e.g. `a.b.0.c`. */
export function dotted(path: Path): string {
  return path.join('.');
}

export function child(node: TreeNode, step: string | number): TreeNode | undefined {
  if (node.kind === 'map') return node.entries.get(String(step))?.value;
  if (node.kind === 'list') return node.items[Number(step)];
  return undefined;
}

export function nodeAt(root: TreeNode, path: Path): TreeNode | undefined {
  let node: TreeNode | undefined = root;
  for (const step of path) {
    if (node === undefined) return undefined;
    node = child(node, step);
  }
  return node;
}

/**
 * Returns where a path was written, or the nearest enclosing thing that was. `key` asks for the key's location, not the
 * value's.
 */
export function originAt(root: TreeNode, path: Path, of: 'key' | 'value'): Origin {
  let node = root;
  let origin = root.origin;
  for (const [depth, step] of path.entries()) {
    const entry = node.kind === 'map' ? node.entries.get(String(step)) : undefined;
    const next = child(node, step);
    if (next === undefined) break;
    node = next;
    origin = of === 'key' && entry !== undefined && depth === path.length - 1 ? entry.origin : next.origin;
  }
  return origin;
}

/** Visits every scalar, in the order written. */
export function* scalars(node: TreeNode, path: Path = []): Generator<{ path: Path; node: ScalarNode }> {
  if (node.kind === 'scalar') {
    yield { path, node };
  } else if (node.kind === 'list') {
    for (const [index, item] of node.items.entries()) yield* scalars(item, [...path, index]);
  } else {
    for (const [key, entry] of node.entries) yield* scalars(entry.value, [...path, key]);
  }
}

/** Replaces scalars; keeps everything else. */
export function mapScalars(
  node: TreeNode,
  replace: (node: ScalarNode, path: Path) => TreeNode,
  path: Path = [],
): TreeNode {
  if (node.kind === 'scalar') return replace(node, path);
  if (node.kind === 'list') {
    return { ...node, items: node.items.map((item, index) => mapScalars(item, replace, [...path, index])) };
  }
  const entries = new Map<string, MapEntry>();
  for (const [key, entry] of node.entries) {
    entries.set(key, { origin: entry.origin, value: mapScalars(entry.value, replace, [...path, key]) });
  }
  return { ...node, entries };
}

/** Returns the plain value. With `placeholders`, what came from the environment appears as its `${env:X}`. */
export function plain(node: TreeNode, placeholders: boolean): unknown {
  if (node.kind === 'scalar')
    return placeholders && node.placeholder !== null ? node.placeholder : node.value;
  if (node.kind === 'list') return node.items.map((item) => plain(item, placeholders));
  const object: Record<string, unknown> = {};
  for (const [key, entry] of node.entries) object[key] = plain(entry.value, placeholders);
  return object;
}
