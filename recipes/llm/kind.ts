/** Runs that fine-tune a language model. */
import type { RunReference } from '../../contracts/index.js';
import type { RecipeKind } from '../run/kind.js';
import { type OpenRun as OpenRunOf, openRun as openRunOf } from '../run/open_run.js';
import { type Recipe, recipeSchema } from './recipe.js';

export const llm: RecipeKind<Recipe> = {
  kind: 'llm',
  schema: recipeSchema,
  identityKeys: ['kind', 'model', 'peft', 'data', 'seed', 'training.optimizer'],
  summarize: ({ name, output_dir, model, training, pool, evaluation }) => ({
    name,
    outputDir: output_dir,
    model: model.name,
    epochs: training.num_epochs,
    pool,
    evaluatesEpochs: evaluation.tasks.some(({ when }) => when === 'epoch'),
  }),
};

export type OpenRun = OpenRunOf<Recipe>;

/** Opens an admitted run of this kind. */
export const openRun = (run: RunReference): Promise<OpenRun> => openRunOf(llm, run);
