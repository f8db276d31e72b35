/** Raw text for continued pretraining: every token is trained on, and an end-of-text token stands between documents. */
import { z } from 'zod';
import type { Document } from '../documents/document.js';
import { endWith, label } from './completion.js';
import {
  type DatasetDefinition,
  fileKeys,
  recordOf,
  requireColumn,
  textOf,
  tokenizerOf,
} from './definition.js';

const schema = z
  .strictObject({
    dataset_type: z.literal('text'),
    ...fileKeys('split'),
    column: z.string().min(1).default('text').describe('the text column of JSON, CSV and Parquet'),
    documents: z
      .enum(['file', 'paragraph', 'line'])
      .default('file')
      .describe('unit of a plain text file that is one document; paragraphs end with a blank line'),
  })
  .describe('raw text: plain files, or a text column');

export const text: DatasetDefinition<z.output<typeof schema>> = {
  type: 'text',
  schema,
  needsTokenizer: true,
  generatedRows: null,
  textUnit: ({ documents }) => documents,
  convert(row, { column }, context): Document[] {
    const tokenizer = tokenizerOf(context);
    let content: unknown = row.value;
    if (typeof content !== 'string') {
      content = requireColumn(recordOf(row), column);
    }
    const written = textOf(content);
    if (written.trim() === '') return [];
    const document = label(tokenizer.encode(written, { addSpecial: row.begins, offsets: false }), 'all');
    return [row.ends ? endWith(document, tokenizer.eosId) : document];
  },
};
