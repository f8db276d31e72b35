/** Builds the prompt of a question. */
import { UsageError } from '../../../shared/errors.js';
import type { ChatMessage } from '../../../shared/text.js';
import type { EvaluatedModel } from '../scoring/task.js';

export type Template = 'auto' | 'chat' | 'plain';

/**
 * Returns whether the model's chat template is used.
 * @throws UsageError where it is asked for and the model has none
 */
export function usesChat(template: Template, model: Pick<EvaluatedModel, 'hasChatTemplate'>): boolean {
  if (template === 'chat' && !model.hasChatTemplate)
    throw new UsageError("'template: chat' needs a chat template, and the model has none; use plain");
  return template !== 'plain' && model.hasChatTemplate;
}

/** Returns the question as a user's message, after the system's if there is one. */
export function conversation(system: string | null, question: string): ChatMessage[] {
  const opening = system === null ? [] : [{ role: 'system', content: system }];
  return [...opening, { role: 'user', content: question }];
}
