import { type LoadedRecipe, loadRecipe } from '../../components/config/index.js';
import { type Recipe, recipeSchema } from './recipe.js';

/**
 * Reads and checks a recipe file with this process's environment, for commands that use it in place.
 *
 * @param overrides `any.key=value`, in order
 * @throws InvalidRecipe with every problem at once
 */
export function readRecipe(file: string, overrides: readonly string[]): Promise<LoadedRecipe<Recipe>> {
  return loadRecipe({ file }, { schema: recipeSchema, overrides });
}
