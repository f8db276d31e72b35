import type { PreparedData, RunReference } from '../../../contracts/index.js';
import type { StepHooks } from '../../run/progress.js';
import { checkTaskTokenizer } from '../check/check_tasks.js';
import { prepareTasks } from '../evaluate/evaluate_tasks.js';
import { openRun } from '../kind.js';
import { resolveRunModel } from '../model.js';
import { prepareAllPacks } from './packs.js';

/**
 * Prepares the run's data, once every task's data and tokenizer are read: a task that cannot be evaluated fails before
 * anything is trained.
 *
 * @throws DataError and ModelError
 */
export async function prepareData(run: RunReference, hooks: StepHooks): Promise<PreparedData> {
  const { recipe, cache } = await openRun(run);
  const { tasks } = recipe.evaluation;
  await prepareTasks(tasks);
  hooks.progress(0, 'resolving the model');
  const resolved = await resolveRunModel(recipe, hooks);
  await checkTaskTokenizer(tasks, resolved.folder);
  return await prepareAllPacks(recipe, resolved, cache, hooks);
}
