import { existsSync } from 'node:fs';
import path from 'node:path';
import type { RecipeTask } from '../../../components/evaluation/index.js';
import { loadTokenizer } from '../../../components/tokenizer/index.js';
import { ModelError } from '../../../shared/errors.js';

/** Reads the tokenizer that tasks need. @throws ModelError where it is damaged, or lacks the template that one asks for */
export async function checkTaskTokenizer(tasks: readonly RecipeTask[], modelFolder: string): Promise<void> {
  if (tasks.length === 0) return;
  const chat = tasks.findIndex(({ template }) => template === 'chat');
  // Building a tokenizer takes a while, and says nothing more where it is there and any template will do.
  if (chat < 0 && existsSync(path.join(modelFolder, 'tokenizer.json'))) return;
  if (!(await loadTokenizer(modelFolder)).hasChatTemplate && chat >= 0)
    throw new ModelError(
      `evaluation.tasks.${chat}.template: the model has no chat template; use plain, or auto`,
    );
}
