/** Documents that are tokens already: `{"input_ids": […], "labels": […]}`, labels −100 where not trained on. */
import { z } from 'zod';
import { columnAt } from '../../../../shared/rows.js';
import type { Document } from '../documents/document.js';
import {
  type DatasetDefinition,
  fileKeys,
  linesOfFiles,
  RowError,
  requireColumn,
  requireRecord,
} from './definition.js';

const schema = z
  .strictObject({
    dataset_type: z.literal('pretokenized'),
    ...fileKeys('truncate'),
  })
  .describe(
    'JSON lines with input_ids and, optionally, labels (−100 where not trained on; aligned with input_ids)',
  );

export const pretokenized: DatasetDefinition<z.output<typeof schema>> = {
  type: 'pretokenized',
  schema,
  needsTokenizer: false,
  source: linesOfFiles,
  convert(row, _, { vocabularySize }): Document[] {
    const record = requireRecord(row);
    const ids = integers(requireColumn(record, 'input_ids'), 'input_ids');
    if (ids.length === 0) throw new RowError("'input_ids' is empty");
    checkVocabulary(ids, 'input_ids', vocabularySize);
    const labelColumn = columnAt(record, 'labels');
    if (labelColumn === undefined) return [{ ids, labels: ids.slice() }];
    const labels = integers(labelColumn, 'labels');
    if (labels.length !== ids.length) {
      throw new RowError(`'labels' has ${labels.length} entries where 'input_ids' has ${ids.length}`);
    }
    checkVocabulary(labels, 'labels', vocabularySize, -100);
    return [{ ids, labels }];
  },
};

function integers(value: unknown, column: string): Int32Array {
  if (!Array.isArray(value)) throw new RowError(`'${column}' is not a list of integers`);
  const result = new Int32Array(value.length);
  for (let index = 0; index < value.length; index += 1) {
    const entry: unknown = value[index];
    if (!Number.isInteger(entry) || Math.abs(entry as number) > 0x7fff_ffff) {
      throw new RowError(`'${column}'[${index}] is ${JSON.stringify(entry)}, not an integer`);
    }
    result[index] = entry as number;
  }
  return result;
}

/** Throws when an id is outside the vocabulary; `allowed` is one number that may. */
function checkVocabulary(ids: Int32Array, column: string, size: number | null, allowed?: number): void {
  const limit = size ?? 0x7fff_ffff;
  const index = ids.findIndex((id) => id !== allowed && (id < 0 || id >= limit));
  if (index < 0) return;
  const range = size === null ? 'a token id is not negative' : `the model's vocabulary has ${size} entries`;
  throw new RowError(`'${column}'[${index}] is ${ids[index]}, and ${range}`);
}
