/** Dotted overrides: `--training.learning_rate=1e-4`. */
import { childPosition, entriesBeside, type SchemaPosition } from './merge.js';
import { buildTree, parseRecipe } from './parse.js';
import { Problems } from './problems.js';
import { child, dotted, type MapEntry, type Origin, type TreeNode } from './tree.js';

/** An override as typed (`a.b=v`, with or without leading dashes), or as key and value. */
export type Override = string | { key: string; value: unknown };

/** Applies overrides in order. Relative paths among their values start from `base`, the shell's folder. */
export function applyOverrides(
  root: TreeNode,
  overrides: readonly Override[],
  base: string,
  problems: Problems,
  position: SchemaPosition,
): TreeNode {
  let tree = root;
  for (const override of overrides) {
    const setting = parseOverride(override, base, problems);
    if (setting === null) continue;
    tree = setAt(tree, position, setting.path, 0, setting, problems);
  }
  return tree;
}

function parseOverride(
  override: Override,
  base: string,
  problems: Problems,
): { path: string[]; value: TreeNode; origin: Origin } | null {
  const nowhere: Origin = { file: null, line: null, column: null, base, override: null };
  if (typeof override !== 'string') {
    const origin = { ...nowhere, override: `--${override.key}` };
    return { path: override.key.split('.'), value: buildTree(override.value, base, problems), origin };
  }
  const typed = override.replace(/^-+/, '');
  const equals = typed.indexOf('=');
  const key = equals < 0 ? typed : typed.slice(0, equals);
  const path = key.split('.');
  if (equals < 0 || path.includes('')) {
    problems.add([], `'${key}' is not an override; write --dotted.key=value`, nowhere);
    return null;
  }
  // Only the key is named in problems: a value may be something that should not be printed.
  const origin = { ...nowhere, override: `--${key}` };
  const text = typed.slice(equals + 1);
  if (text.trim() === '')
    return { path, value: { kind: 'scalar', value: '', origin, placeholder: null }, origin };
  const quiet = new Problems();
  // `${env:X}` cannot stand unquoted inside YAML's flow syntax, but as a whole value it is plain text.
  const value = /^\$?\$\{[^{}]*\}/.test(text)
    ? buildTree(text, base, quiet)
    : (parseRecipe({ text, file: null, base }, quiet) ??
      (text.trim().match(/^(null|~)$/) ? buildTree(null, base, quiet) : null));
  if (value === null) {
    const reason = quiet.found[0]?.message ?? 'malformed YAML';
    problems.add(path, `the value is read as YAML, and is not: ${reason}. Put it in quotes`, origin);
    return null;
  }
  return { path, value: placed(value, origin), origin };
}

/** Returns the same tree, written by an override. */
function placed(node: TreeNode, origin: Origin): TreeNode {
  if (node.kind === 'scalar') return { ...node, origin };
  if (node.kind === 'list') return { ...node, origin, items: node.items.map((item) => placed(item, origin)) };
  const entries = new Map<string, MapEntry>();
  for (const [key, entry] of node.entries) entries.set(key, { origin, value: placed(entry.value, origin) });
  return { kind: 'map', entries, origin };
}

function setAt(
  node: TreeNode | undefined,
  position: SchemaPosition,
  path: readonly string[],
  depth: number,
  set: { value: TreeNode; origin: Origin },
  problems: Problems,
): TreeNode {
  const { value, origin } = set;
  if (depth === path.length) return placed(value, origin);
  const step = path[depth]!;
  const below = () =>
    setAt(node && child(node, step), childPosition(position, node, step), path, depth + 1, set, problems);
  if (node?.kind === 'list') {
    const index = Number(step);
    if (!/^\d+$/.test(step) || index > node.items.length) {
      const range = `0 to ${node.items.length}`;
      problems.add(
        path.slice(0, depth + 1),
        `this is a list: its indices are ${range} (the last one appends)`,
        origin,
      );
      return node;
    }
    const items = [...node.items];
    items[index] = below();
    return { ...node, items };
  }
  if (node?.kind === 'scalar' && node.value !== null) {
    problems.add(
      path.slice(0, depth + 1),
      `'${dotted(path.slice(0, depth))}' is a single value and has no keys`,
      origin,
    );
    return node;
  }
  const last = depth + 1 === path.length;
  const entries =
    node?.kind === 'map' && last
      ? entriesBeside(node, step, value, position)
      : new Map(node?.kind === 'map' ? node.entries : []);
  entries.set(step, { origin, value: below() });
  return { kind: 'map', entries, origin: node?.origin ?? origin };
}
