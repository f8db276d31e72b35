/** A run as every step finds it: its folder, and the recipe that was admitted into it. */
import { loadRecipe } from '../../components/config/index.js';
import { type RunReference, recipeKey, storedRecipeSchema } from '../../contracts/index.js';
import { CheckpointError } from '../../shared/errors.js';
import { openStorage, resolveRoots, type Storage } from '../../shared/storage/index.js';
import type { RecipeKind } from './kind.js';

/** @typeParam Recipe the recipe of a run of this kind */
export interface OpenRun<Recipe> {
  run: RunReference;
  recipe: Recipe;
  /** The recipe as written, environment placeholders unresolved: what may be shown. */
  document: Record<string, unknown>;
  /** The run's folder. */
  storage: Storage;
  /** Local folder of packs and weights. */
  cache: string;
}

/** Returns storage within the roots of this process. */
export function openRooted(uri: string): Promise<Storage> {
  return openStorage(uri, { roots: resolveRoots(null).roots });
}

/** Opens an admitted run. The environment's values are this process's own. @throws CheckpointError */
export async function openRun<Recipe>(kind: RecipeKind<Recipe>, run: RunReference): Promise<OpenRun<Recipe>> {
  const storage = await openRooted(run.outputDir);
  const stored = storedRecipeSchema.parse(JSON.parse((await storage.read(recipeKey)).toString('utf8')));
  if (stored.digest !== run.recipeDigest) {
    throw new CheckpointError(
      `${run.outputDir}/${recipeKey} is not the recipe of run '${run.id}' (digest ${stored.digest.slice(0, 12)} ` +
        `instead of ${run.recipeDigest.slice(0, 12)}): another run has taken over the folder; give this run its own output_dir`,
    );
  }
  const { roots, cache } = resolveRoots(null);
  const options = { schema: kind.schema, base: stored.base, roots };
  const { value } = await loadRecipe({ recipe: stored.recipe }, options);
  return { run, recipe: value, document: stored.recipe, storage, cache };
}
