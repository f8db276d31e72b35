/** docs/recipe.md and docs/recipe.schema.json, from the schema that validates recipes: `npm run docs` writes both. */
import { type JsonSchema, pathKeyword, recipeJsonSchema } from '../../components/config/index.js';
import { recipeSchema } from '../../recipes/llm/recipe.js';

const introduction = `# The recipe

A recipe is a YAML (or JSON) file. This page lists every key; it is generated from the schema that validates recipes
(\`npm run docs\`), so what is not here does not exist. \`temper validate RECIPE.yaml\` checks a file and prints it with
every default. Editors complete keys from [recipe.schema.json](recipe.schema.json) (also \`temper schema\`): put this line
at the top of the file.

\`\`\`yaml
# yaml-language-server: $schema=recipe.schema.json
\`\`\`

- \`--any.key=value\` on the command line replaces a key.
- \`\${key}\` stands for another key of the recipe, \`\${env:X}\` and \`\${env:X:-default}\` for a variable of the worker's
  environment that its \`TEMPER_RECIPE_ENV\` lists. A recipe that holds a credential is refused.
- \`extends: base.yaml\` takes another file's keys where this one says nothing.
- Relative paths start at the folder of the file they are written in.
`;

interface Files {
  markdown: string;
  schema: string;
}

/** Both files' text. */
export function recipeReference(): Files {
  const root = recipeJsonSchema(recipeSchema);
  const keys = Object.entries(root.properties!);
  const plain = keys.filter(([, schema]) => maps(schema).length === 0);
  const sections = keys.filter(([, schema]) => maps(schema).length > 0);
  const parts = [
    introduction,
    section('Top level', table(plain.map(([key, schema]) => row(key, schema, isRequired(root, key))))),
    ...sections.map(([key, schema]) =>
      section(`\`${key}\``, key === 'data' ? dataText(schema) : sectionText(key, schema)),
    ),
    section('Datasets', datasetsText(root.properties!.data!.properties!.train!)),
  ];
  return { markdown: parts.join('\n'), schema: `${JSON.stringify(root)}\n` };
}

const section = (title: string, text: string) => `## ${title}\n\n${text}\n`;

/** The maps that a value may be: itself, or members of a union. */
function maps(schema: JsonSchema): JsonSchema[] {
  if (schema.properties !== undefined) return [schema];
  return [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])].flatMap(maps);
}

/** The keys of a section; a table for each map that one of its keys may be. */
function sectionText(key: string, schema: JsonSchema): string {
  const [only] = maps(schema);
  const about = typeof schema.description === 'string' ? [sentence(schema.description)] : [];
  const members = Object.entries(only!.properties!).map(([name, child]) =>
    child.items === undefined ? ([name, maps(child)] as const) : ([`${name}[]`, maps(child.items)] as const),
  );
  const choices = members.filter(([, kinds]) => kinds.length > 1);
  const variants = choices.flatMap(([name, kinds]) =>
    kinds.map((variant) => {
      const [constant, value] = discriminator(variant);
      const title = `### \`${key}.${name}\` with \`${constant}: ${value}\``;
      const says = typeof variant.description === 'string' ? `${sentence(variant.description)}\n\n` : '';
      return `${title}\n\n${says}${table(rowsOf(`${key}.${name}`, variant))}`;
    }),
  );
  return [...about, table(rowsOf(key, only!)), ...variants].join('\n\n');
}

/** A row for each key, and for each key of a map below it; maps of several kinds are for `sectionText`. */
function rowsOf(prefix: string, schema: JsonSchema): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, child]) => {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    const inner = child.items === undefined ? maps(child) : maps(child.items);
    const below = inner.length === 1 ? rowsOf(child.items === undefined ? key : `${key}[]`, inner[0]!) : [];
    // A map that is always there says nothing that its keys do not.
    if (below.length > 0 && child.properties !== undefined && child.default !== undefined) return below;
    return [row(key, child, isRequired(schema, name)), ...below];
  });
}

function dataText(data: JsonSchema): string {
  const { train, validation, ...others } = data.properties!;
  const rows = [
    `| \`data.train\` | a dataset | required | ${train!.description} |`,
    `| \`data.validation\` | a dataset, or a map of them | \`null\` | ${validation!.description} |`,
    ...rowsOf('data', { ...data, properties: others }),
  ];
  return table(rows);
}

/** Every dataset type: first what all that read files share, then each one's own keys. */
function datasetsText(train: JsonSchema): string {
  const types = maps(train);
  const reading = types.filter((type) => type.properties!.path !== undefined);
  const shared = Object.keys(reading[0]!.properties!).filter((key) => {
    const [first, ...others] = reading.map((type) => JSON.stringify(type.properties![key]));
    return others.every((text) => text === first);
  });
  const own = (type: JsonSchema, skip: readonly string[]): JsonSchema => ({
    ...type,
    properties: Object.fromEntries(Object.entries(type.properties!).filter(([key]) => !skip.includes(key))),
  });
  const pick = (type: JsonSchema, keys: readonly string[]): JsonSchema => ({
    ...type,
    properties: Object.fromEntries(keys.map((key) => [key, type.properties![key]!])),
  });
  const intro = 'A dataset is a map with a `dataset_type` and the keys of that type.\n';
  const common = `### Keys of every dataset that reads files\n\n${table(rowsOf('', pick(reading[0]!, shared)))}\n`;
  const texts = types.map((type) => {
    const name = String(type.properties!.dataset_type!.const);
    const skip = ['dataset_type', ...(reading.includes(type) ? shared : [])];
    const about = typeof type.description === 'string' ? `${sentence(type.description)}\n\n` : '';
    const rows = rowsOf('', own(type, skip));
    const keys = rows.length === 0 ? 'No further keys.' : table(rows);
    const also = reading.includes(type) ? 'Reads files, with the keys above, and:\n\n' : '';
    return `### \`dataset_type: ${name}\`\n\n${about}${also}${keys}\n`;
  });
  return [intro, common, ...texts].join('\n').trimEnd();
}

/** The constant that tells a union's members apart. */
function discriminator(schema: JsonSchema): [key: string, value: unknown] {
  const [key, child] = Object.entries(schema.properties!).find(
    ([, { const: value }]) => value !== undefined,
  )!;
  return [key, child.const];
}

const isRequired = (schema: JsonSchema, key: string) =>
  Array.isArray(schema.required) && (schema.required as string[]).includes(key);

const table = (rows: readonly string[]) =>
  ['| key | type | default | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');

function row(key: string, schema: JsonSchema, required: boolean): string {
  const standard = schema.default === undefined ? (required ? 'required' : '–') : code(schema.default);
  const meaning = typeof schema.description === 'string' ? schema.description : '';
  return `| \`${key}\` | ${typeText(schema)} | ${standard} | ${cell(meaning)} |`;
}

/** Text that Markdown takes literally in a table. */
const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '\\<');
const code = (value: unknown) => `\`${JSON.stringify(value).replaceAll('|', '\\|')}\``;
const sentence = (text: string) => `${text[0]!.toUpperCase()}${text.slice(1)}.`;

/** A type in words: `integer ≥ 1`, `"none" or "full"`, `list of string`. */
function typeText(schema: JsonSchema): string {
  if (schema.const !== undefined) return code(schema.const);
  if (schema.enum !== undefined) return schema.enum.map(code).join(' or ');
  const union = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
  if (union.some(({ properties }) => properties?.dataset_type !== undefined)) return 'a dataset';
  if (union.length > 0) return [...new Set(union.map(typeText))].join(' or ');
  if (Array.isArray(schema.type)) return schema.type.join(' or ');
  if (schema.type === 'array') {
    if (schema.prefixItems !== undefined) return `[${schema.prefixItems.map(typeText).join(', ')}]`;
    return `list of ${schema.items === undefined ? 'anything' : typeText(schema.items)}`;
  }
  if (schema.type === 'object') return 'map';
  if (schema[pathKeyword] !== undefined) return schema[pathKeyword] === 'model' ? 'model' : 'path';
  return [schema.type ?? 'anything', ...bounds(schema)].join(' ');
}

function bounds(schema: JsonSchema): string[] {
  const above = schema.exclusiveMinimum !== undefined ? [`> ${schema.exclusiveMinimum}`] : [];
  const from = schema.minimum !== undefined ? [`≥ ${schema.minimum}`] : [];
  const below = schema.exclusiveMaximum !== undefined ? [`< ${schema.exclusiveMaximum}`] : [];
  const to =
    schema.maximum !== undefined && schema.maximum !== Number.MAX_SAFE_INTEGER ? [`≤ ${schema.maximum}`] : [];
  const all = [...above, ...from, ...below, ...to];
  return all.length === 0 ? [] : [all.join(', ')];
}
