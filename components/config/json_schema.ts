/** The recipe schema as JSON Schema: what editors complete from, and how keys are looked up for suggestions and paths. */
import { z } from 'zod';
import type { Path } from './tree.js';

/** A JSON Schema node, as far as zod writes them. */
export interface JsonSchema {
  [keyword: string]: unknown;
  type?: string | string[];
  properties?: Record<string, JsonSchema>;
  additionalProperties?: JsonSchema | boolean;
  items?: JsonSchema;
  prefixItems?: JsonSchema[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  const?: unknown;
  enum?: unknown[];
  $ref?: string;
  $defs?: Record<string, JsonSchema>;
}

/**
 * Marks a string of a schema as a path, in its zod metadata: `z.string().meta({ [pathKeyword]: 'file' })`. Relative ones
 * start from the folder of the recipe they are written in. `model` may also be a Hugging Face id, and is a path
 * only when it is written as one (`./x`, `/x`, `~/x`, `x.gguf`) or exists.
 */
export const pathKeyword = 'x-temper-path';

/** Returns the JSON Schema (draft 2020-12) of what a recipe's author may write, with descriptions and defaults. */
export function recipeJsonSchema(schema: z.ZodType, title = 'Temper recipe'): JsonSchema {
  const generated = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema;
  if (generated.properties !== undefined) {
    generated.properties = {
      extends: {
        description: 'recipe file, or list of files, whose keys apply where this recipe does not set them',
        anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }],
      },
      ...generated.properties,
    };
  }
  return { ...generated, title };
}

/**
 * Returns the schemas that may apply to `value`, with references and unions opened; alternatives that cannot fit are
 * left out.
 */
export function alternatives(schema: JsonSchema, value: unknown, root: JsonSchema): JsonSchema[] {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.replace(/^#\/\$defs\//, '');
    const target = schema.$ref === '#' ? root : root.$defs?.[name];
    return target === undefined ? [] : alternatives(target, value, root);
  }
  const branches = [...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])];
  const ownSchemas = branches.length === 0 || schema.properties !== undefined ? [schema] : [];
  // What is said of a union (`string or null`, say) holds for each of its members.
  const path = schema[pathKeyword] === undefined ? {} : { [pathKeyword]: schema[pathKeyword] };
  const nested = branches.flatMap((branch) => alternatives({ ...path, ...branch }, value, root));
  return [...ownSchemas, ...nested].filter((candidate) => mayFit(candidate, value));
}

/** Judges by the kind of value, and by constant properties (the key that tells a union's members apart). */
function mayFit(schema: JsonSchema, value: unknown): boolean {
  if (value === undefined) return true;
  if (schema.properties === undefined) return true;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.entries(schema.properties).every(([key, property]) => {
    const actual = (value as Record<string, unknown>)[key];
    if (typeof actual !== 'string') return true;
    if (property.const !== undefined) return property.const === actual;
    return true;
  });
}

/**
 * Returns the schemas that may apply to `value`, which is at `step` of a map or list that `schemas` may apply to.
 */
export function schemasAt(
  schemas: readonly JsonSchema[],
  step: string | number,
  value: unknown,
  root: JsonSchema,
): JsonSchema[] {
  return schemas.flatMap((schema) => {
    const next =
      typeof step === 'number'
        ? (schema.prefixItems?.[step] ?? schema.items)
        : (schema.properties?.[step] ??
          (typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined));
    return next === undefined ? [] : alternatives(next, value, root);
  });
}

/** Returns the keys a map at `path` may have. */
export function knownKeys(root: JsonSchema, value: unknown, path: Path): string[] {
  let schemas = alternatives(root, value, root);
  let current = value;
  for (const step of path) {
    current =
      typeof current === 'object' && current !== null
        ? (current as Record<string, unknown>)[step]
        : undefined;
    schemas = schemasAt(schemas, step, current, root);
  }
  return [...new Set(schemas.flatMap((schema) => Object.keys(schema.properties ?? {})))];
}

/** Yields every string of `value` that its schema marks as a path. */
export function* pathsIn(
  root: JsonSchema,
  value: unknown,
  schema: JsonSchema = root,
  path: Path = [],
): Generator<{ path: Path; kind: string }> {
  const seen = new Set<string>();
  for (const candidate of alternatives(schema, value, root)) {
    for (const pathValue of pathsWithin(root, value, candidate, path)) {
      const identity = JSON.stringify(pathValue.path);
      if (seen.has(identity)) continue;
      seen.add(identity);
      yield pathValue;
    }
  }
}

function* pathsWithin(
  root: JsonSchema,
  value: unknown,
  schema: JsonSchema,
  path: Path,
): Generator<{ path: Path; kind: string }> {
  const kind = schema[pathKeyword];
  if (typeof kind === 'string' && typeof value === 'string') yield { path, kind };
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      const next = schema.prefixItems?.[index] ?? schema.items;
      if (next !== undefined) yield* pathsIn(root, item, next, [...path, index]);
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, entry] of Object.entries(value)) {
      const extra = schema.additionalProperties;
      const next = schema.properties?.[key] ?? (typeof extra === 'object' ? extra : undefined);
      if (next !== undefined) yield* pathsIn(root, entry, next, [...path, key]);
    }
  }
}
