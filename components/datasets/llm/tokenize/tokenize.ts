/** One chunk of rows to documents: selection, conversion, fitting, dropping. Runs in worker threads. */
import { DataError } from '../../../../shared/errors.js';
import { countTargets, cutToSize, type Document } from '../documents/document.js';
import { hashWords } from '../documents/random.js';
import type { Chunk, Row } from '../sources/chunk.js';
import { readRows } from '../sources/rows.js';
import { type DatasetContext, type FileOptions, RowError, type RowSelection } from '../types/definition.js';
import { datasetDefinition } from '../types/registry.js';
import type { SingleDataset } from '../types/schema.js';
import type { ChunkCounts, TokenizedChunk } from './chunk_store.js';

/** Rows that a problem names; the others are counted. */
const shownRows = 5;

/** Returns the first and last (exclusive) row that `rows` and `limit` select. */
export function rowRange({ rows, limit }: Pick<RowSelection, 'rows' | 'limit'>): [from: number, to: number] {
  const from = rows?.[0] ?? 0;
  const to = rows?.[1] ?? Number.POSITIVE_INFINITY;
  return [from, limit === null ? to : Math.min(to, from + limit)];
}

/** Returns whether a row belongs to the dataset: a function of its number only. */
export function selects(options: Partial<RowSelection>, index: number): boolean {
  const [from, to] = rowRange({ rows: options.rows ?? null, limit: options.limit ?? null });
  if (index < from || index >= to) return false;
  const holdout = options.holdout ?? null;
  if (holdout === null) return true;
  const heldOut = hashWords(holdout.seed, index) < holdout.fraction * 0x1_0000_0000;
  return heldOut === (holdout.part === 'held_out');
}

/**
 * Reads and tokenizes a chunk.
 *
 * @param begin called before each row is converted, with its number in the file from 0
 * @throws DataError that names the file and the rows that cannot be used
 */
export async function tokenizeChunk(
  chunk: Chunk,
  dataset: SingleDataset,
  context: DatasetContext,
  begin: (row: number) => void = () => {},
): Promise<TokenizedChunk> {
  const definition = datasetDefinition(dataset.dataset_type);
  const options = dataset as Partial<FileOptions> & SingleDataset;
  const { source } = definition;
  const rows = await readRows(chunk, source.kind === 'files' ? source.textUnit(dataset) : 'line');
  const counts: ChunkCounts = { read: 0, truncated: 0, split: 0, dropped: 0 };
  const documents: Document[] = [];
  const invalid: { row: Row; message: string }[] = [];
  for (const row of rows) {
    if (!selects(options, row.index)) continue;
    begin(row.index - chunk.firstRow + chunk.firstRowOfFile);
    let converted: Document[];
    try {
      converted = definition.convert(row, dataset, context);
    } catch (error) {
      if (!(error instanceof RowError)) throw error;
      if (options.invalid_rows === 'skip') {
        counts.read += 1;
        counts.dropped += 1;
      } else invalid.push({ row, message: error.message });
      continue;
    }
    for (const document of converted) {
      checkVocabulary(document, context.vocabularySize);
      if (row.begins) counts.read += 1;
      const fitted = cutToSize(document, context.packedSequenceSize, dataset.long_documents ?? 'truncate');
      const useful = fitted.pieces.filter((piece) => countTargets(piece) > 0);
      documents.push(...useful);
      if (useful.length === 0) counts.dropped += 1;
      else if (fitted.truncated) counts.truncated += 1;
      else if (fitted.split) counts.split += 1;
    }
  }
  if (invalid.length > 0) throw invalidRows(chunk, rows.length, invalid);
  return { documents, ...counts };
}

/** Refuses ids outside the vocabulary: a tokenizer of another model would have the engine read past its embedding. */
function checkVocabulary({ ids }: Document, size: number | null): void {
  if (size === null) return;
  const foreign = ids.find((id) => id >= size);
  if (foreign === undefined) return;
  throw new DataError(
    `the tokenizer gives the id ${foreign}, and the model's vocabulary has ${size} entries: they do not belong together`,
  );
}

function invalidRows(
  chunk: Chunk,
  rows: number,
  invalid: readonly { row: Row; message: string }[],
): DataError {
  const file = chunk.file ?? 'generated data';
  const same = invalid.every(({ message }) => message === invalid[0]!.message);
  const locations = invalid.slice(0, shownRows).map(({ row }) => row.location);
  const more = invalid.length > shownRows ? ` and ${invalid.length - shownRows} more` : '';
  const remedy = "Correct the data or the recipe, or drop such rows with 'invalid_rows: skip'";
  if (invalid.length === 1)
    return new DataError(`${file}: ${locations[0]}: ${invalid[0]!.message}. ${remedy}`);
  const start = `${file}: ${invalid.length} of the ${rows} rows from ${chunk.firstRowOfFile + 1} on cannot be used`;
  if (same)
    return new DataError(`${start}: ${invalid[0]!.message} (${locations.join(', ')}${more}). ${remedy}`);
  const lines = invalid.slice(0, shownRows).map(({ row, message }) => `\n  ${row.location}: ${message}`);
  return new DataError(`${start}:${lines.join('')}${more === '' ? '' : `\n ${more}`}\n${remedy}`);
}
