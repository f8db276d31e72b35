import { existsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { z } from 'zod';
import { canonicalJson, sha256 } from '../../shared/digest.js';
import { UsageError } from '../../shared/errors.js';
import { listedVariables } from '../../shared/recipe_environment.js';
import type { Environment } from './environment.js';
import { applyTemplates } from './extends.js';
import { type JsonSchema, pathsIn, recipeJsonSchema } from './json_schema.js';
import { merge, recipePosition } from './merge.js';
import { applyOverrides, type Override } from './overrides.js';
import { buildTree, decodeRecipe, parseRecipe } from './parse.js';
import { Problems } from './problems.js';
import { type Roots, readFailure, readRecipeFile, refuseOutsideRoots } from './read_file.js';
import { resolveEnvironment, resolveReferences } from './references.js';
import { refuseSecrets } from './secrets.js';
import { mapScalars, nodeAt, type Path, plain, scalars, type TreeNode } from './tree.js';
import { reportIssues } from './validate.js';

/** A recipe's file, its text, or the recipe itself as an object (as a workflow's input brings it). */
export type RecipeSource =
  | { file: string }
  | { text: string }
  | { recipe: Readonly<Record<string, unknown>> };

export interface ComposeOptions {
  /** Applied last, in order. */
  overrides?: readonly Override[];
  /** The shell's folder: where `file` and paths in overrides start, and paths in text or an object without `base`. */
  cwd?: string;
  /** Folder in which relative paths of text or an object start, when it is not `cwd`. */
  base?: string;
  /** Id of the run, the value of `${run}`. Default: the recipe's name. */
  run?: string;
  /** Laid under everything: defaults that refer to other keys, such as `output_dir: runs/${name}`. */
  defaults?: Readonly<Record<string, unknown>>;
  /**
   * A worker's storage roots: templates are read there, and a recipe loaded whole names no path outside them. Default
   * null: whatever this process's user may read.
   */
  roots?: Roots;
}

/** A schema, or what gives the one for the recipe's key `kind`; null when the recipe does not have the key. */
export type SchemaChoice<S extends z.ZodType = z.ZodType> = S | ((kind: string | null) => S);

export interface LoadOptions<S extends z.ZodType> extends ComposeOptions {
  schema: SchemaChoice<S>;
  /** Default: this process's. */
  env?: Environment;
  /** Names (and patterns, `NAME_*`) of the variables that recipes may read. Default: what `TEMPER_RECIPE_ENV` lists. */
  recipeEnvironment?: readonly string[];
}

/** A recipe whose templates, overrides and references are in place; the environment is not. */
export interface ComposedRecipe {
  /** The recipe as it may be stored, sent and shown: `${env:X}` as written. */
  document: Record<string, unknown>;
  /** Folder in which its relative paths start. */
  base: string;
}

export interface LoadedRecipe<T> extends ComposedRecipe {
  /** Validated, defaults filled in, environment resolved, paths absolute. Never shown or stored. */
  value: T;
  /** `value` as canonical JSON, with `${env:X}` in place of what came from the environment. */
  canonical: string;
  /** sha256 of `canonical`. */
  digest: string;
}

/** The environment, null when it is not judged, and what of it may be read. */
interface Variables {
  env: Environment | null;
  listed: readonly string[];
}

interface Composition {
  tree: TreeNode;
  base: string;
  schema: z.ZodType;
  jsonSchema: JsonSchema;
}

/**
 * Reads, composes and validates a recipe, on the machine whose environment it shall see.
 *
 * @throws InvalidRecipe with every problem at once, each with file, line, column, key and a suggestion.
 * @example
 * const { value } = await loadRecipe({ file: 'recipe.yaml' }, { schema, overrides: ['training.num_epochs=1'] });
 */
export async function loadRecipe<S extends z.ZodType>(
  source: RecipeSource,
  options: LoadOptions<S>,
): Promise<LoadedRecipe<z.output<S>>> {
  const problems = new Problems();
  const composition = await compose(source, options, problems);
  const { value, tree, document } = validate(
    composition,
    { env: options.env ?? process.env, listed: options.recipeEnvironment ?? listedVariables() },
    problems,
  );
  if (options.roots != null)
    await refuseOutsideRoots(value, tree, composition.jsonSchema, options.roots, problems);
  problems.throwIfAny();
  const redacted = structuredClone(value) as unknown;
  for (const { path: keyPath, node } of scalars(tree)) {
    if (node.placeholder !== null) replaceAt(redacted, keyPath, node.placeholder);
  }
  const canonical = canonicalJson(redacted);
  return {
    value: value as z.output<S>,
    document,
    base: composition.base,
    canonical,
    digest: sha256(canonical),
  };
}

/**
 * Composes and checks a recipe on a machine whose environment does not matter (the client's): values that are
 * `${env:X}` are left unjudged.
 *
 * @throws InvalidRecipe
 */
export async function composeRecipe(
  source: RecipeSource,
  options: ComposeOptions & { schema: SchemaChoice },
): Promise<ComposedRecipe> {
  const problems = new Problems();
  const composition = await compose(source, options, problems);
  const { document } = validate(composition, { env: null, listed: [] }, problems);
  return { document, base: composition.base };
}

async function compose(
  source: RecipeSource,
  options: ComposeOptions & { schema: SchemaChoice },
  problems: Problems,
): Promise<Composition> {
  const cwd = path.resolve(options.cwd ?? '.');
  const roots = options.roots ?? null;
  const { tree, base, chain } = await readSource(source, cwd, options.base, roots, problems);
  problems.throwIfAny();
  if (tree?.kind !== 'map') {
    problems.add([], 'a recipe is a map of keys, such as `model:` and `data:`', tree?.origin ?? null);
    problems.throwIfAny();
  }
  const schema = chooseSchema(options.schema, tree!, problems);
  const jsonSchema = recipeJsonSchema(schema);
  const position = recipePosition(jsonSchema);
  let composed = await applyTemplates(tree!, chain, roots, problems, position);
  if (options.defaults !== undefined)
    composed = merge(buildTree(options.defaults, base, problems), composed, position);
  composed = applyOverrides(composed, options.overrides ?? [], cwd, problems, position);
  refuseSecrets(composed, problems);
  composed = resolveReferences(composed, options.run ?? null, problems);
  return { tree: composed, base, schema, jsonSchema };
}

/** Chooses the schema by the `kind` of the recipe itself: a template of another kind would have other keys. */
function chooseSchema(choice: SchemaChoice, tree: TreeNode, problems: Problems): z.ZodType {
  if (typeof choice !== 'function') return choice;
  const node = nodeAt(tree, ['kind']);
  const kind = node?.kind === 'scalar' && typeof node.value === 'string' ? node.value : null;
  try {
    return choice(kind);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.add(['kind'], error.message, node?.origin ?? null);
    problems.throwIfAny();
    throw error;
  }
}

async function readSource(
  source: RecipeSource,
  cwd: string,
  givenBase: string | undefined,
  roots: Roots,
  problems: Problems,
): Promise<{ tree: TreeNode | null; base: string; chain: string[] }> {
  if ('recipe' in source) {
    const base = givenBase ?? cwd;
    return { tree: buildTree(source.recipe, base, problems), base, chain: [] };
  }
  if ('text' in source) {
    const base = givenBase ?? cwd;
    return { tree: parseRecipe({ text: source.text, file: null, base }, problems), base, chain: [] };
  }
  const absolute = path.resolve(cwd, source.file);
  const base = path.dirname(absolute);
  let bytes: Uint8Array;
  try {
    bytes = await readRecipeFile(absolute, roots);
  } catch (error) {
    problems.add([], `cannot read the recipe '${source.file}': ${readFailure(error)}`, null);
    return { tree: null, base, chain: [] };
  }
  const text = decodeRecipe(bytes, source.file, problems);
  const tree = text === null ? null : parseRecipe({ text, file: source.file, base }, problems);
  return { tree, base, chain: [absolute] };
}

/** Validates, and makes paths absolute. Without an environment, what stands for it is not judged. */
function validate(
  { tree: composed, base, schema, jsonSchema }: Composition,
  variables: Variables,
  problems: Problems,
): { value: unknown; tree: TreeNode; document: Record<string, unknown> } {
  const { env, listed } = variables;
  let tree = resolveEnvironment(composed, env, listed, problems);
  let result = schema.safeParse(plain(tree, false));
  if (!result.success && env !== null) {
    // A variable such as `007` may have been read as a number where the schema wants text.
    const failed = new Set(result.error.issues.map((issue) => JSON.stringify(issue.path)));
    const raw = resolveAsText(composed, tree, variables, failed);
    const asText = schema.safeParse(plain(raw, false));
    if (asText.success || asText.error.issues.length < result.error.issues.length) {
      tree = raw;
      result = asText;
    }
  }
  const value = plain(tree, false);
  if (!result.success) {
    reportIssues(result.error.issues, {
      root: tree,
      value,
      jsonSchema,
      problems,
      environmentKnown: env !== null,
    });
  }
  problems.throwIfAny();

  const document = plain(composed, false) as Record<string, unknown>;
  const output: unknown = result.success ? structuredClone(result.data) : null;
  for (const { path: keyPath, kind } of pathsIn(jsonSchema, result.success ? result.data : value)) {
    const node = nodeAt(tree, keyPath);
    const from = node?.origin.base ?? base;
    const resolved = (text: string): string => absolutePath(text, from, kind);
    const text = valueAt(result.success ? result.data : value, keyPath);
    if (typeof text === 'string') replaceAt(output, keyPath, resolved(text));
    // In the document only paths that start elsewhere (a template's folder, the shell's) need to be rewritten.
    const source = nodeAt(composed, keyPath);
    if (from !== base && source?.kind === 'scalar' && typeof source.value === 'string') {
      replaceAt(document, keyPath, resolved(source.value));
    }
  }
  return { value: output, tree, document };
}

function resolveAsText(
  composed: TreeNode,
  resolved: TreeNode,
  { env, listed }: Variables,
  failed: ReadonlySet<string>,
): TreeNode {
  return mapScalars(resolved, (node, keyPath) => {
    if (node.placeholder === null || typeof node.value === 'string' || !failed.has(JSON.stringify(keyPath)))
      return node;
    const source = nodeAt(composed, keyPath);
    const padded = source?.kind === 'scalar' ? { ...source, value: `${String(source.value)} ` } : node;
    // With a space behind it, the reference is no longer the whole value, and stays text.
    const text = resolveEnvironment(padded, env, listed, new Problems());
    return text.kind === 'scalar' ? { ...node, value: String(text.value).slice(0, -1) } : node;
  });
}

function absolutePath(text: string, base: string, kind: string): string {
  if (text === '' || /^[a-z][a-z0-9+.-]*:\/\//i.test(text) || text.startsWith('${env:')) return text;
  if (text === '~' || text.startsWith('~/')) return path.join(os.homedir(), text.slice(1));
  const baseIsUri = /^[a-z][a-z0-9+.-]*:\/\//i.test(base);
  const joined =
    baseIsUri && !path.isAbsolute(text) ? `${base.replace(/\/$/, '')}/${text}` : path.resolve(base, text);
  if (kind !== 'model' || /^\.{0,2}\//.test(text) || text.endsWith('.gguf')) return joined;
  return !baseIsUri && existsSync(joined) ? joined : text;
}

function valueAt(root: unknown, keyPath: Path): unknown {
  let value = root;
  for (const step of keyPath) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value;
}

function replaceAt(root: unknown, keyPath: Path, value: unknown): void {
  const parent = valueAt(root, keyPath.slice(0, -1));
  const last = keyPath.at(-1);
  if (typeof parent === 'object' && parent !== null && last !== undefined && last in parent) {
    (parent as Record<string, unknown>)[last] = value;
  }
}
