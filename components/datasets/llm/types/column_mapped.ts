/** Question and answer from columns of JSON, JSONL, CSV or Parquet. */
import { z } from 'zod';
import { columnAt, lacksColumns } from '../../../../shared/rows.js';
import type { Message, Tokenizer } from '../../../../shared/text.js';
import type { Document } from '../documents/document.js';
import { encodeCompletion, encodeConversation, type LossScope } from './completion.js';
import {
  type DatasetDefinition,
  fileKeys,
  linesOfFiles,
  RowError,
  requireRecord,
  requireTokenizer,
  toText,
} from './definition.js';

const schema = z
  .strictObject({
    dataset_type: z.literal('column_mapped'),
    ...fileKeys('truncate'),
    columns: z
      .looseObject({
        question: z.string().min(1).describe('column of the question'),
        answer: z.string().min(1).describe('column of the answer'),
        context: z.string().min(1).optional().describe('column of a passage that goes before the question'),
      })
      .catchall(z.string().min(1))
      .describe(
        'names of the columns; further ones may be used in templates. `a.b.0` looks into nested columns',
      ),
    template: z
      .enum(['auto', 'chat', 'plain'])
      .default('auto')
      .describe(
        "chat: the model's chat template, question as user, answer as assistant; auto: chat where the model has one",
      ),
    prompt_template: z
      .string()
      .nullable()
      .default(null)
      .describe(
        'text of the prompt, with placeholders such as {question} and {context}; null: context and question',
      ),
    answer_template: z
      .string()
      .nullable()
      .default(null)
      .describe('text of the answer, with placeholders; null: {answer}'),
    system_prompt: z.string().nullable().default(null).describe('system message of the chat template'),
    loss: z.enum(['answer', 'full']).default('answer').describe('tokens that are trained on'),
  })
  .describe('questions and answers in columns of JSON, JSON lines, CSV or Parquet')
  .superRefine((options, context) => {
    for (const key of ['prompt_template', 'answer_template'] as const) {
      for (const [, name] of (options[key] ?? '').matchAll(placeholder)) {
        if (name! in options.columns) continue;
        const columnNames = Object.keys(options.columns)
          .map((column) => `{${column}}`)
          .join(', ');
        context.addIssue({
          code: 'custom',
          path: [key],
          message: `{${name}} is not one of the mapped columns ${columnNames}`,
        });
      }
    }
    if (options.system_prompt !== null && options.template === 'plain') {
      context.addIssue({
        code: 'custom',
        path: ['system_prompt'],
        message: 'cannot be used in the plain template',
      });
    }
  });

type Options = z.output<typeof schema>;

const placeholder = /\{([A-Za-z_]\w*)\}/g;

export const columnMapped: DatasetDefinition<Options> = {
  type: 'column_mapped',
  schema,
  needsTokenizer: true,
  source: linesOfFiles,
  convert(row, options, context): Document[] {
    const fields = readFields(requireRecord(row), options.columns);
    return [encodeExchange(buildExchange(fields, options), requireTokenizer(context))];
  },
};

/** One question with its answer, ready for either template. */
export interface Exchange {
  template: 'auto' | 'chat' | 'plain';
  system: string | null;
  prompt: string;
  answer: string;
  /** Separator between prompt and answer in the plain form. */
  separator: string;
  loss: LossScope;
}

function buildExchange(fields: ReadonlyMap<string, string>, options: Options): Exchange {
  const fill = (template: string): string =>
    template.replace(placeholder, (match, name: string) => fields.get(name) ?? match);
  const fallback = fields.has('context') ? '{context}\n{question}' : '{question}';
  return {
    template: options.template,
    system: options.system_prompt,
    prompt: fill(options.prompt_template ?? fallback),
    answer: fill(options.answer_template ?? '{answer}'),
    separator: options.prompt_template === null && options.answer_template === null ? ' ' : '',
    loss: options.loss,
  };
}

/**
 * Returns mapped columns as text.
 * @throws RowError naming every column the row lacks
 */
function readFields(
  record: Readonly<Record<string, unknown>>,
  columns: Readonly<Record<string, string | undefined>>,
): Map<string, string> {
  const fields = new Map<string, string>();
  const absent: string[] = [];
  for (const [name, column] of Object.entries(columns)) {
    if (column === undefined) continue;
    const value = columnAt(record, column);
    if (value === undefined) absent.push(column);
    else fields.set(name, toText(value));
  }
  if (absent.length > 0) throw new RowError(lacksColumns(record, absent));
  return fields;
}

const assistant: ReadonlySet<string> = new Set(['assistant']);

function buildMessages({ system, prompt, answer }: Exchange): Message[] {
  return [
    ...(system === null ? [] : [{ role: 'system', content: system }]),
    { role: 'user', content: prompt },
    { role: 'assistant', content: answer },
  ];
}

/** Returns the document of one exchange. */
export function encodeExchange(exchange: Exchange, tokenizer: Tokenizer): Document {
  if (exchange.answer === '') throw new RowError('the answer is empty');
  const { template, prompt, separator, answer, loss } = exchange;
  if (template === 'chat' && !tokenizer.hasChatTemplate) {
    throw new RowError("'template: chat' needs a chat template, and the model has none; use plain");
  }
  if (template === 'plain' || !tokenizer.hasChatTemplate) {
    return encodeCompletion(prompt, separator + answer, loss, tokenizer);
  }
  const document = encodeConversation(buildMessages(exchange), assistant, null, tokenizer);
  return loss === 'full' ? { ids: document.ids, labels: document.ids.slice() } : document;
}
