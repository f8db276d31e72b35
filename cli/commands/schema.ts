import { recipeJsonSchema } from '../../components/config/index.js';
import { recipeSchema } from '../../recipes/llm/recipe.js';

export async function schema(): Promise<void> {
  process.stdout.write(`${JSON.stringify(recipeJsonSchema(recipeSchema), null, 2)}\n`);
}
