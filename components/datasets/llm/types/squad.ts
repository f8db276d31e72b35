/** SQuAD: articles as published (`{"data": [{"paragraphs": […]}]}`), or rows as the hub has them. */
import { z } from 'zod';
import type { Document } from '../documents/document.js';
import { encodeExchange } from './column_mapped.js';
import {
  type DatasetContext,
  type DatasetDefinition,
  fileKeys,
  linesOfFiles,
  RowError,
  requireColumn,
  requireRecord,
  requireTokenizer,
} from './definition.js';

const schema = z
  .strictObject({
    dataset_type: z.literal('squad'),
    ...fileKeys('truncate'),
    template: z
      .enum(['auto', 'chat', 'plain'])
      .default('auto')
      .describe("auto: the model's chat template where it has one"),
    loss: z.enum(['answer', 'full']).default('answer').describe('tokens that are trained on'),
  })
  .describe('SQuAD 1.1 and 2.0, in the published or the row form; questions without an answer are left out');

type Options = z.output<typeof schema>;

interface Answers {
  text?: unknown;
}

export const squad: DatasetDefinition<Options> = {
  type: 'squad',
  schema,
  needsTokenizer: true,
  source: linesOfFiles,
  convert(row, options, context): Document[] {
    const record = requireRecord(row);
    if (!('paragraphs' in record)) {
      const [question, passage, answers] = ['question', 'context', 'answers'].map((name) =>
        requireColumn(record, name),
      );
      const texts = (answers as Answers).text;
      return exchange(
        String(passage),
        String(question),
        Array.isArray(texts) ? texts[0] : undefined,
        options,
        context,
      );
    }
    return list(record.paragraphs, 'paragraphs').flatMap((paragraph) =>
      list(paragraph.qas, 'qas').flatMap((qa) => {
        const [first] = list(qa.answers, 'answers') as Answers[];
        return exchange(String(paragraph.context), String(qa.question), first?.text, options, context);
      }),
    );
  },
};

function list(value: unknown, name: string): Record<string, unknown>[] {
  if (!Array.isArray(value)) throw new RowError(`'${name}' is not a list`);
  return value as Record<string, unknown>[];
}

function exchange(
  passage: string,
  question: string,
  answer: unknown,
  options: Options,
  context: DatasetContext,
): Document[] {
  if (typeof answer !== 'string' || answer === '') return [];
  return [
    encodeExchange(
      {
        template: options.template,
        system: null,
        prompt: `Context: ${passage} Question: ${question} Answer:`,
        answer,
        separator: ' ',
        loss: options.loss,
      },
      requireTokenizer(context),
    ),
  ];
}
