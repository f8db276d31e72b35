/** HellaSwag as training text: a context and its right ending. */
import { z } from 'zod';
import type { Document } from '../document.js';
import { encodeCompletion } from './completion.js';
import { columnOf, type DatasetDefinition, fileKeys, RowError, recordOf, tokenizerOf } from './definition.js';

const schema = z
  .strictObject({
    dataset_type: z.literal('hellaswag'),
    ...fileKeys('truncate'),
    loss: z
      .enum(['answer', 'full'])
      .default('answer')
      .describe('train on the ending alone, or on context and ending'),
  })
  .describe('HellaSwag rows (ctx, endings, label): the context with its right ending');

/** The benchmark's marks of WikiHow, removed as lm-evaluation-harness does. */
const clean = (text: string): string =>
  text
    .trim()
    .replaceAll(' [title]', '. ')
    .replace(/\[.*?\]/g, '')
    .replaceAll('  ', ' ');

export const hellaswag: DatasetDefinition<z.output<typeof schema>> = {
  type: 'hellaswag',
  schema,
  needsTokenizer: true,
  generatedRows: null,
  textUnit: () => 'line',
  convert(row, { loss }, context): Document[] {
    const record = recordOf(row);
    const [ctx, endings, right] = ['ctx', 'endings', 'label'].map((name) => {
      const value = columnOf(record, name);
      if (value === undefined)
        throw new RowError(`lacks the column '${name}' (it has ${Object.keys(record).join(', ')})`);
      return value;
    });
    const ending: unknown = Array.isArray(endings) ? endings[Number(right)] : undefined;
    if (typeof ctx !== 'string' || typeof ending !== 'string' || right === '') {
      throw new RowError(`'label' ${JSON.stringify(right)} names none of 'endings'`);
    }
    return [encodeCompletion(clean(ctx), ` ${clean(ending)}`, loss, tokenizerOf(context))];
  },
};
