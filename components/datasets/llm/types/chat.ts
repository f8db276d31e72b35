/** Conversations: OpenAI's `messages`, or ShareGPT's `conversations`, through the model's own chat template. */
import { z } from 'zod';
import { columnAt, lacksColumns } from '../../../../shared/rows.js';
import type { Message } from '../../../../shared/text.js';
import type { Document } from '../documents/document.js';
import { encodeConversation } from './completion.js';
import {
  type DatasetDefinition,
  fileKeys,
  linesOfFiles,
  RowError,
  requireRecord,
  requireTokenizer,
} from './definition.js';

const schema = z
  .strictObject({
    dataset_type: z.literal('chat'),
    ...fileKeys('truncate'),
    messages_column: z
      .string()
      .min(1)
      .nullable()
      .default(null)
      .describe("the conversation's column; null: messages, else conversations"),
    tools_column: z
      .string()
      .min(1)
      .default('tools')
      .describe('tool definitions for the template, where a row has them'),
    train_on_roles: z
      .array(z.string().min(1))
      .min(1)
      .default(['assistant'])
      .describe('roles whose messages are trained on'),
  })
  .describe("conversations in OpenAI's or ShareGPT's form");

type Options = z.output<typeof schema>;

/** ShareGPT's names for roles. */
const roleNames: Record<string, string> = {
  human: 'user',
  gpt: 'assistant',
  chatgpt: 'assistant',
  bot: 'assistant',
  model: 'assistant',
  function_response: 'tool',
};

export const chat: DatasetDefinition<Options> = {
  type: 'chat',
  schema,
  needsTokenizer: true,
  source: linesOfFiles,
  convert(row, options, context): Document[] {
    const tokenizer = requireTokenizer(context);
    if (!tokenizer.hasChatTemplate)
      throw new RowError('chat data needs a chat template, and the model has none');
    const record = requireRecord(row);
    const tools = columnAt(record, options.tools_column);
    return [
      encodeConversation(
        parseMessages(record, options.messages_column),
        new Set(options.train_on_roles),
        Array.isArray(tools) && tools.length > 0 ? tools : null,
        tokenizer,
      ),
    ];
  },
};

function parseMessages(record: Readonly<Record<string, unknown>>, column: string | null): Message[] {
  const names = column === null ? ['messages', 'conversations'] : [column];
  const list = names.map((name) => columnAt(record, name)).find((value) => value !== undefined);
  if (list === undefined) {
    throw new RowError(lacksColumns(record, names, ' or '));
  }
  if (!Array.isArray(list) || list.length === 0)
    throw new RowError('the conversation is not a list of messages, or is empty');
  return list.map((entry: unknown, index) => parseMessage(entry, index));
}

function parseMessage(entry: unknown, index: number): Message {
  if (typeof entry !== 'object' || entry === null)
    throw new RowError(`message ${index + 1} is not an object`);
  const { from, value, ...rest } = entry as Record<string, unknown>;
  const role = rest.role ?? from;
  const content = 'content' in rest ? rest.content : value;
  if (typeof role !== 'string') throw new RowError(`message ${index + 1} has neither 'role' nor 'from'`);
  if (content === undefined && !('tool_calls' in rest))
    throw new RowError(`message ${index + 1} has neither 'content' nor 'value'`);
  return { ...rest, role: roleNames[role] ?? role, content: content ?? '' };
}
