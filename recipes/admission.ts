/** Recipes read and checked, runs admitted: all that needs neither the engine nor Temporal, and answers at once. */
import { llm } from './llm/kind.js';
import { registerKind } from './run/kind.js';

registerKind(llm);

export { readRecipe } from './llm/read_recipe.js';
export { type Recipe, recipeKeys, recipeSchema } from './llm/recipe.js';
export { type AdmitInfo, admit } from './run/admit.js';
export { type RecipeKind, registerKind, schemaOfKind } from './run/kind.js';
