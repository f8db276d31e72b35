export type { Environment } from './environment.js';
export { type JsonSchema, pathKeyword, recipeJsonSchema } from './json_schema.js';
export {
  type ComposedRecipe,
  type ComposeOptions,
  composeRecipe,
  type LoadedRecipe,
  type LoadOptions,
  loadRecipe,
  type RecipeSource,
} from './load.js';
export type { Override } from './overrides.js';
export { maxRecipeBytes } from './parse.js';
export { printRecipe, redact } from './secrets.js';
