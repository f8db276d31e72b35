/** The lines that `temper score` reads. */
import type { ModelTokenizer } from '../../../components/tokenizer/index.js';
import { DataError } from '../../../shared/errors.js';
import { readJsonLines } from '../json_lines.js';

export interface ScoreRequest {
  ids: number[];
  /** First of the n − 1 log-probabilities that is wanted: 0, or the one of a completion's first token. */
  from: number;
}

export interface RequestContext {
  /** Name of the file, for errors. */
  file: string;
  vocabularySize: number;
  /** Loads the model's tokenizer, when the first text asks for it. */
  tokenizer: () => Promise<ModelTokenizer>;
}

/**
 * Reads JSON lines of the forms `{"input_ids": […]}`, `{"prompt": …, "completion": …}` and `{"text": …}`; a line with
 * several is read as the first of these. No special tokens are added.
 * @throws DataError naming file and line
 */
export async function* readRequests(
  chunks: AsyncIterable<Uint8Array>,
  context: RequestContext,
): AsyncGenerator<ScoreRequest> {
  for await (const { location, value } of readJsonLines(chunks, context.file))
    yield await parseRequest(value, location, context);
}

async function parseRequest(
  { input_ids, prompt, completion, text }: Record<string, unknown>,
  location: string,
  { vocabularySize, tokenizer }: RequestContext,
): Promise<ScoreRequest> {
  if (input_ids !== undefined) return { ids: tokenIds(input_ids, vocabularySize, location), from: 0 };
  if (typeof prompt === 'string' && typeof completion === 'string')
    return completionRequest(prompt, completion, await tokenizer());
  if (typeof text === 'string')
    return { ids: (await tokenizer()).encode(text, { addSpecial: false, offsets: false }).ids, from: 0 };
  throw new DataError(
    `${location}: a line needs "input_ids" (a list of ids), "text" (a string), or "prompt" and "completion" (strings)`,
  );
}

/**
 * Tokenizes prompt and completion together; a token that shares a character with the completion is the completion's.
 */
function completionRequest(prompt: string, completion: string, tokenizer: ModelTokenizer): ScoreRequest {
  const { ids, offsets } = tokenizer.encode(prompt + completion, { addSpecial: false });
  const first = offsets.findIndex(([, end]) => end > prompt.length);
  // Nothing comes before a text's first token, so that an empty prompt's completion begins with its second.
  return { ids, from: first < 0 ? Math.max(0, ids.length - 1) : Math.max(0, first - 1) };
}

function tokenIds(value: unknown, vocabularySize: number, location: string): number[] {
  if (!Array.isArray(value)) throw new DataError(`${location}: input_ids must be a list of token ids`);
  const foreign: unknown = value.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabularySize);
  if (foreign !== undefined) {
    throw new DataError(
      `${location}: input_ids holds ${JSON.stringify(foreign)}, but the model's token ids go from 0 to ${vocabularySize - 1}`,
    );
  }
  return value as number[];
}
