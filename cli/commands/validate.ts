import { printRecipe, redact } from '../../components/config/index.js';
import { readRecipe } from '../../recipes/base/read_recipe.js';
import type { Context } from '../context.js';

/** Only the schema is loaded, neither the engine nor Temporal: editors and hooks call this often. */
export async function validate(this: Context, flags: { json: boolean }, recipe: string): Promise<void> {
  const { canonical, digest } = await readRecipe(recipe, this.overrides);
  const document: unknown = JSON.parse(canonical);
  if (flags.json) process.stdout.write(`${JSON.stringify({ digest, recipe: redact(document) })}\n`);
  else process.stdout.write(`# valid; digest ${digest.slice(0, 16)}\n${printRecipe(document)}`);
}
