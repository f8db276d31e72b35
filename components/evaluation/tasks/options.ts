/** Options that several tasks share. */
import { z } from 'zod';
import { filePath, filePaths } from '../../../shared/schema_keys.js';

export const fileOptions = {
  path: filePaths,
  limit: z.int().min(1).nullable().default(null).describe('take at most this many examples'),
};

export const fewShotOptions = {
  num_fewshot: z.int().min(0).default(0).describe('number of solved examples before each question'),
  fewshot_path: filePath
    .nullable()
    .default(null)
    .describe('file of the solved examples, read from its first row; must not be the evaluated file'),
};

/** Checks `fewShotOptions`, as a refinement of a schema that has them. */
export function checkFewShot(
  { num_fewshot, fewshot_path }: { num_fewshot: number; fewshot_path: string | null },
  context: z.RefinementCtx,
): void {
  if (num_fewshot === 0 || fewshot_path !== null) return;
  const message = 'num_fewshot needs fewshot_path, a file of examples that are not evaluated';
  context.addIssue({ code: 'custom', path: ['num_fewshot'], message });
}

export const answerOptions = (maxNewTokens: number) => ({
  template: z
    .enum(['auto', 'chat', 'plain'])
    .default('auto')
    .describe("chat: the model's chat template; auto: chat where the model has one"),
  max_new_tokens: z.int().min(1).default(maxNewTokens).describe('most tokens of an answer'),
});
