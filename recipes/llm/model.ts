import { type Model, type ResolvedModel, resolveModel } from '../../components/models/index.js';
import type { StepHooks } from '../run/progress.js';
import type { Recipe } from './recipe.js';

const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;

/** Returns the recipe's model as a local, verified folder; downloads or converts it when the cache has none. */
export function resolveRunModel(recipe: Recipe, hooks: StepHooks): Promise<ResolvedModel> {
  return resolveModel(recipe.model.name, {
    revision: recipe.model.revision,
    configOverrides: recipe.model.config_overrides,
    // Rounding quantized weights to bfloat16 costs nothing where products round them anyway.
    ggufDType: recipe.training.precision === 'fp32' ? 'f32' : 'bf16',
    onProgress: ({ stage, done, total }) =>
      hooks.progress(total > 0 ? done / total : null, `${stage} ${megabytes(done)} of ${megabytes(total)}`),
    onNotice: (text) => hooks.progress(null, text),
  });
}

/** Returns warnings: things that are unusual about a recipe with this model, but not mistakes. */
export function modelNotices(
  recipe: Pick<Recipe, 'data'>,
  { maxPositions }: Pick<Model, 'maxPositions'>,
): string[] {
  const { packed_sequence_size: longest } = recipe.data;
  if (longest <= maxPositions) return [];
  return [
    `a document may have as many tokens as a pack, ${longest} (data.packed_sequence_size), and the model was made for ` +
      `${maxPositions} (max_position_embeddings): positions beyond that are new to it`,
  ];
}
