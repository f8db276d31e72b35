import { printRecipe, redact } from '../../components/config/index.js';
import { readRecipe } from '../../recipes/base/read_recipe.js';
import type { Context } from '../command/context.js';

/** Only the schema is loaded, neither the engine nor Temporal: editors and hooks call this often. */
export async function validate(this: Context, flags: { json: boolean }, recipe: string): Promise<void> {
  const { canonical, digest, value } = await readRecipe(recipe, this.overrides);
  const document = inOrderOf(value, JSON.parse(canonical));
  if (flags.json) process.stdout.write(`${JSON.stringify({ digest, recipe: redact(document) })}\n`);
  else process.stdout.write(`# valid; digest ${digest.slice(0, 16)}\n${printRecipe(document)}`);
}

/** `shown` with its keys in the order that `value` has them in, which is the schema's. */
function inOrderOf(value: unknown, shown: unknown): unknown {
  if (Array.isArray(value) && Array.isArray(shown))
    return shown.map((entry: unknown, i) => inOrderOf(value[i], entry));
  if (typeof value !== 'object' || value === null || typeof shown !== 'object' || shown === null)
    return shown;
  const entries = shown as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, inOrderOf(entry, entries[key])]),
  );
}
