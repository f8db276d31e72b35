/** One recipe laid over another: maps merge key by key, except where the two are different members of a union. */
import { alternatives, type JsonSchema, schemasAt } from './json_schema.js';
import type { MapEntry, MapNode, TreeNode } from './tree.js';

/** A node's position in the schema: the schema as a whole, and those of its parts that may apply to the node. */
export interface SchemaPosition {
  root: JsonSchema;
  schemas: readonly JsonSchema[];
}

export const recipePosition = (root: JsonSchema): SchemaPosition => ({
  root,
  schemas: alternatives(root, undefined, root),
});

/** Returns the position of a map's key, or of a list's item. */
export function childPosition(
  { root, schemas }: SchemaPosition,
  parent: TreeNode | undefined,
  step: string,
): SchemaPosition {
  const index = parent?.kind === 'list' ? Number(step) : step;
  return { root, schemas: schemasAt(ofKind(schemas, parent), index, undefined, root) };
}

/**
 * Merges `over` into `under`. A map that states, by `name`, `dataset_type` or whichever key tells its union's members
 * apart, that it is another member than the one below replaces that one: the keys of one mean nothing to the other.
 */
export function merge(under: TreeNode, over: TreeNode, position: SchemaPosition): TreeNode {
  if (under.kind !== 'map' || over.kind !== 'map') return over;
  const [below, above] = [findMember(under, position.schemas), findMember(over, position.schemas)];
  if (below !== null && above !== null && below !== above) return over;
  const entries = new Map(under.entries);
  const union: MapNode = {
    kind: 'map',
    entries: new Map([...under.entries, ...over.entries]),
    origin: over.origin,
  };
  for (const [key, entry] of over.entries) {
    const lower = entries.get(key);
    const value =
      lower === undefined
        ? entry.value
        : merge(lower.value, entry.value, childPosition(position, union, key));
    entries.set(key, { origin: entry.origin, value });
  }
  return { kind: 'map', entries, origin: over.origin };
}

/**
 * Returns the entries that a map keeps when an override sets `key`: of another member's, only what overrides have set.
 */
export function entriesBeside(
  node: MapNode,
  key: string,
  value: TreeNode,
  { schemas }: SchemaPosition,
): Map<string, MapEntry> {
  const before = textAt(node, key);
  const after = value.kind === 'scalar' ? value.value : null;
  if (!discriminators(schemas).includes(key) || before === null || before === after)
    return new Map(node.entries);
  return new Map([...node.entries].filter(([, entry]) => entry.origin.override !== null));
}

/** Returns the member of its union that a map is; null when it does not say, or there is no union. */
function findMember(node: MapNode, schemas: readonly JsonSchema[]): string | null {
  const keys = discriminators(schemas);
  for (const key of keys) {
    const text = textAt(node, key);
    if (text !== null) return `${key}=${text}`;
  }
  return keys.length > 0 && isNamedEntries(node, schemas) ? 'entries by name' : null;
}

/** Returns keys that have one fixed value in each of several alternatives, and not the same one in all. */
function discriminators(schemas: readonly JsonSchema[]): string[] {
  const values = new Map<string, Set<unknown>>();
  for (const { properties } of schemas) {
    for (const [key, property] of Object.entries(properties ?? {})) {
      if (property.const !== undefined) values.set(key, (values.get(key) ?? new Set()).add(property.const));
    }
  }
  return [...values].filter(([, found]) => found.size > 1).map(([key]) => key);
}

/** Returns whether a map holds other maps under its author's names, when the schema allows that next to fixed keys. */
function isNamedEntries(node: MapNode, schemas: readonly JsonSchema[]): boolean {
  if (!schemas.some(({ additionalProperties }) => typeof additionalProperties === 'object')) return false;
  const fixed = new Set(schemas.flatMap(({ properties }) => Object.keys(properties ?? {})));
  const entries = [...node.entries];
  return entries.length > 0 && entries.every(([key, { value }]) => value.kind === 'map' && !fixed.has(key));
}

/** Returns the alternatives that a map's discriminators leave. */
function ofKind(schemas: readonly JsonSchema[], node: TreeNode | undefined): readonly JsonSchema[] {
  if (node?.kind !== 'map') return schemas;
  const constants = discriminators(schemas).flatMap((key) => {
    const text = textAt(node, key);
    return text === null ? [] : [[key, text] as const];
  });
  return schemas.filter(({ properties }) =>
    constants.every(
      ([key, text]) => properties?.[key]?.const === undefined || properties[key].const === text,
    ),
  );
}

/** Returns the text at a key; null when there is none, or it has yet to be looked up (`${…}`). */
function textAt(node: MapNode, key: string): string | null {
  const value = node.entries.get(key)?.value;
  if (value?.kind !== 'scalar' || typeof value.value !== 'string' || value.value.includes('${')) return null;
  return value.value;
}
