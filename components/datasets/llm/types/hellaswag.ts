/** HellaSwag as training text: a context and its right ending. */
import { z } from 'zod';
import { cleanHellaswag } from '../../../../shared/hellaswag_text.js';
import type { Document } from '../documents/document.js';
import { encodeCompletion } from './completion.js';
import {
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
    dataset_type: z.literal('hellaswag'),
    ...fileKeys('truncate'),
    loss: z
      .enum(['answer', 'full'])
      .default('answer')
      .describe('train on the ending only, or on context and ending'),
  })
  .describe('HellaSwag rows (ctx, endings, label): the context with its right ending');

export const hellaswag: DatasetDefinition<z.output<typeof schema>> = {
  type: 'hellaswag',
  schema,
  needsTokenizer: true,
  source: linesOfFiles,
  convert(row, { loss }, context): Document[] {
    const record = requireRecord(row);
    const [ctx, endings, right] = ['ctx', 'endings', 'label'].map((name) => requireColumn(record, name));
    const ending: unknown = Array.isArray(endings) ? endings[Number(right)] : undefined;
    if (typeof ctx !== 'string' || typeof ending !== 'string' || right === '') {
      throw new RowError(`'label' ${JSON.stringify(right)} is not an index of 'endings'`);
    }
    return [
      encodeCompletion(cleanHellaswag(ctx), ` ${cleanHellaswag(ending)}`, loss, requireTokenizer(context)),
    ];
  },
};
