/** Token ids of a tokenizer.json, checked before the library allocates an entry for every id up to the largest. */
import { ModelError } from '../../shared/errors.js';

/** Several times the largest vocabulary there is. */
const maxTokenId = (1 << 22) - 1;

/** @throws ModelError naming the file and the first token whose id is none */
export function checkTokenIds(tokenizer: Record<string, unknown>, location: string): void {
  const file = `${location}/tokenizer.json`;
  const { added_tokens: added, model } = tokenizer;
  if (added !== undefined && !Array.isArray(added))
    throw new ModelError(`${file}: 'added_tokens' is not a list`);
  for (const entry of (added ?? []) as unknown[]) {
    const { id, content } = (entry ?? {}) as { id?: unknown; content?: unknown };
    if (typeof content !== 'string')
      throw new ModelError(
        `${file}: an added token has no 'content': ${JSON.stringify(entry)?.slice(0, 80)}`,
      );
    checkId(id, content, file);
  }
  const vocab = (model as { vocab?: unknown } | null | undefined)?.vocab;
  if (typeof vocab !== 'object' || vocab === null) throw new ModelError(`${file}: 'model' has no 'vocab'`);
  // Unigram lists its tokens with their scores, and counts them by their index.
  if (Array.isArray(vocab)) return;
  for (const [content, id] of Object.entries(vocab)) checkId(id, content, file);
}

function checkId(id: unknown, content: string, file: string): void {
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) <= maxTokenId) return;
  const token = JSON.stringify(content.slice(0, 60));
  throw new ModelError(
    `${file}: the token ${token} has the id ${JSON.stringify(id)}, and ids are whole numbers from 0 to ${maxTokenId}`,
  );
}
