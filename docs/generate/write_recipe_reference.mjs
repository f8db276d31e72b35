// Writes docs/recipe.md and docs/recipe.schema.json from the recipe's schema, as built in dist/.
import { writeFile } from 'node:fs/promises';
import { recipeReference } from '../../dist/docs/generate/recipe_reference.js';

const docs = new URL('../', import.meta.url);
const { markdown, schema } = recipeReference();
await writeFile(new URL('recipe.md', docs), markdown);
await writeFile(new URL('recipe.schema.json', docs), schema);
