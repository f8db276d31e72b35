import { existsSync } from 'node:fs';
import path from 'node:path';
import { loadTokenizer } from '../../../components/tokenizer/index.js';
import type { RunReference } from '../../../contracts/index.js';
import { ModelError } from '../../../shared/errors.js';
import type { StepHooks } from '../../run/progress.js';
import { prepareTasks } from '../evaluate/evaluate_tasks.js';
import { openRun } from '../kind.js';
import { resolveRunModel } from '../model.js';

/**
 * Reads every task's data, and the tokenizer that they need, before anything is prepared or trained.
 *
 * @throws DataError and ModelError
 */
export async function checkTasks(run: RunReference, hooks: StepHooks): Promise<void> {
  const { recipe } = await openRun(run);
  const { tasks } = recipe.evaluation;
  if (tasks.length === 0) return;
  await prepareTasks(tasks);
  const { folder } = await resolveRunModel(recipe, hooks);
  const chat = tasks.findIndex(({ template }) => template === 'chat');
  // Building a tokenizer takes a while, and says nothing more where it is there and any template will do.
  if (chat < 0 && existsSync(path.join(folder, 'tokenizer.json'))) return;
  if (!(await loadTokenizer(folder)).hasChatTemplate && chat >= 0)
    throw new ModelError(
      `evaluation.tasks.${chat}.template: the model has no chat template; use plain, or auto`,
    );
}
