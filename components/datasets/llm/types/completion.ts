/** A prompt and its completion as one document. */

import type { Encoding, Message, Tokenizer } from '../../../../shared/text.js';
import { type Document, ignored } from '../documents/document.js';
import { RowError } from './definition.js';

/** Tokens that the loss covers. */
export type LossScope = 'answer' | 'full';

export type Span = readonly [start: number, end: number];

/** Labels every token that shares a character with one of the spans; everything else is −100. */
export function label(encoding: Encoding, spans: readonly Span[] | 'all'): Document {
  const ids = Int32Array.from(encoding.ids);
  if (spans === 'all') return { ids, labels: ids.slice() };
  const labels = new Int32Array(ids.length).fill(ignored);
  let span = 0;
  for (const [index, [start, end]] of encoding.offsets.entries()) {
    while (span < spans.length && spans[span]![1] <= start) span += 1;
    const current = spans[span];
    if (current === undefined) break;
    if (end > current[0] && start < end) labels[index] = ids[index]!;
  }
  return { ids, labels };
}

/** Encodes the plain text form: prompt, completion and an end-of-text token, tokenized together. */
export function encodeCompletion(
  prompt: string,
  completion: string,
  loss: LossScope,
  tokenizer: Tokenizer,
): Document {
  const text = prompt + completion;
  const document = label(
    tokenizer.encode(text, { addSpecial: true }),
    loss === 'full' ? 'all' : [[prompt.length, text.length]],
  );
  return endWith(document, tokenizer.eosId);
}

/** Adds a supervised end-of-text token where there is none yet. */
export function endWith(document: Document, eosId: number | null): Document {
  if (eosId === null) return document;
  const length = document.ids.length;
  if (document.ids[length - 1] === eosId) {
    document.labels[length - 1] = eosId;
    return document;
  }
  const ids = new Int32Array(length + 1);
  const labels = new Int32Array(length + 1);
  ids.set(document.ids);
  labels.set(document.labels);
  ids[length] = eosId;
  labels[length] = eosId;
  return { ids, labels };
}

/**
 * Encodes a conversation by the model's chat template. What is supervised is found by rendering prefixes: a message's
 * span runs from the render of what came before it (with the generation prompt, for the assistant) to the render that
 * includes it. Each render must be a prefix of the whole, or the mask would be wrong, and the row is refused.
 */
export function encodeConversation(
  messages: readonly Message[],
  roles: ReadonlySet<string>,
  tools: readonly unknown[] | null,
  tokenizer: Tokenizer,
): Document {
  const render = (count: number, addGenerationPrompt: boolean): string => {
    try {
      return tokenizer.applyChatTemplate(messages.slice(0, count), { addGenerationPrompt, tools });
    } catch (error) {
      throw new RowError(`the model's chat template refuses the conversation: ${(error as Error).message}`, {
        cause: error,
      });
    }
  };
  const text = render(messages.length, false);
  const spans: Span[] = [];
  for (const [index, message] of messages.entries()) {
    if (!roles.has(message.role)) continue;
    if (index === 0)
      throw new RowError(
        `the conversation begins with a message of the ${message.role}, and nothing precedes it as a prompt`,
      );
    const before = render(index, message.role === 'assistant');
    const after = index === messages.length - 1 ? text : render(index + 1, false);
    if (!text.startsWith(before) || !text.startsWith(after) || after.length <= before.length) {
      const reason =
        "the model's chat template renders it differently once more messages follow, so no exact loss mask exists";
      throw new RowError(
        `message ${index + 1} (${message.role}): ${reason}; train on the last message only, or split the row`,
      );
    }
    spans.push([before.length, spanEnd(after, before.length, tokenizer.specialTokens)]);
  }
  return label(tokenizer.encode(text, { addSpecial: false }), spans);
}

/**
 * Returns the end of a message's span: white space after a closing special token (`<|im_end|>\n`) only separates
 * messages, and is not generated.
 */
function spanEnd(text: string, start: number, specialTokens: ReadonlySet<string>): number {
  const end = start + text.slice(start).trimEnd().length;
  for (const token of specialTokens) {
    if (token.trim() !== '' && text.endsWith(token, end) && end - token.length >= start) return end;
  }
  return text.length;
}
