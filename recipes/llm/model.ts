import { type ResolvedModel, resolveModel } from '../../components/models/index.js';
import type { StepHooks } from '../base/hooks.js';
import type { Recipe } from './recipe.js';

const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;

/** The recipe's model as a local, verified folder; downloads or converts it when the cache has none. */
export function resolveRunModel(recipe: Recipe, hooks: StepHooks): Promise<ResolvedModel> {
  return resolveModel(recipe.model.name, {
    revision: recipe.model.revision,
    configOverrides: recipe.model.config_overrides,
    onProgress: ({ stage, done, total }) =>
      hooks.progress(total > 0 ? done / total : null, `${stage} ${megabytes(done)} of ${megabytes(total)}`),
    onNotice: (text) => hooks.progress(null, text),
  });
}
