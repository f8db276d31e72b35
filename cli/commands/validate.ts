import { recipeCommand } from '../command/define.js';
import { jsonFlag } from '../command/flags.js';

export const validate = recipeCommand<{ json: boolean }>({
  docs: { brief: 'Check a recipe and print it with every default' },
  flags: { json: jsonFlag },
  async run({ json }, recipe) {
    // Neither the engine nor Temporal is loaded: editors and hooks run this often.
    const [{ printRecipe, redact }, { readRecipe }] = await Promise.all([
      import('../../components/config/index.js'),
      import('../../recipes/admission.js'),
    ]);
    const { canonical, digest, value } = await readRecipe(recipe, this.overrides);
    const document = reorderLike(value, JSON.parse(canonical));
    if (json) process.stdout.write(`${JSON.stringify({ digest, recipe: redact(document) })}\n`);
    else process.stdout.write(`# valid; digest ${digest.slice(0, 16)}\n${printRecipe(document)}`);
  },
});

/** Returns `template` with its keys in the order of those of `value`, which is the schema's. */
function reorderLike(value: unknown, template: unknown): unknown {
  if (Array.isArray(value) && Array.isArray(template))
    return template.map((entry: unknown, i) => reorderLike(value[i], entry));
  if (typeof value !== 'object' || value === null || typeof template !== 'object' || template === null)
    return template;
  const entries = template as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, reorderLike(entry, entries[key])]),
  );
}
