/** Raw text for continued pretraining: every token is trained on, and an end-of-text token separates documents. */
import { z } from 'zod';
import type { Document } from '../documents/document.js';
import { endWith, label } from './completion.js';
import {
  type DatasetDefinition,
  fileKeys,
  requireColumn,
  requireRecord,
  requireTokenizer,
  toText,
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
  source: { kind: 'files', textUnit: ({ documents }) => documents },
  convert(row, { column }, context): Document[] {
    const tokenizer = requireTokenizer(context);
    let content: unknown = row.value;
    if (typeof content !== 'string') {
      content = requireColumn(requireRecord(row), column);
    }
    const written = toText(content);
    if (written.trim() === '') return [];
    const document = label(tokenizer.encode(written, { addSpecial: row.begins, offsets: false }), 'all');
    return [row.ends ? endWith(document, tokenizer.eosId) : document];
  },
};
