/** The interface of a dataset type, and the options that all of them share. */
import { z } from 'zod';
import { DataError } from '../../../../shared/errors.js';
import { asRecord, type Row as Columns, columnAt, lacksColumns, noRecord } from '../../../../shared/rows.js';
import { filePaths } from '../../../../shared/schema_keys.js';
import type { Tokenizer } from '../../../../shared/text.js';
import type { Document } from '../documents/document.js';
import type { Row } from '../sources/chunk.js';
import { fileFormats } from '../sources/files.js';
import type { TextUnit } from '../sources/split.js';

const longDocuments = z.enum(['truncate', 'split']);
export type LongDocuments = z.infer<typeof longDocuments>;

/** Options about length, common to every dataset. */
export const lengthKeys = (fallback: LongDocuments) => ({
  long_documents: longDocuments
    .default(fallback)
    .describe(
      'handling of a document longer than packed_sequence_size: cut it to that length, or split it into several',
    ),
});

/** Options of every dataset that is read from files. */
export const fileKeys = (fallback: LongDocuments) => ({
  path: filePaths,
  format: z
    .enum(['auto', ...fileFormats])
    .default('auto')
    .describe("the files' format; auto decides by extension"),
  rows: z
    .tuple([z.int().min(0), z.int().min(1).nullable()])
    .refine(([from, to]) => to === null || to > from, 'the second number must be larger than the first')
    .nullable()
    .default(null)
    .describe('take rows [from, to), counted from 0; null for `to` means to the end'),
  limit: z.int().min(1).nullable().default(null).describe('take at most this many rows'),
  holdout: z
    .strictObject({
      fraction: z.number().gt(0).lt(1).describe('share of the rows that is held out'),
      part: z.enum(['held_out', 'rest']).describe('the part of the rows that this dataset takes'),
      seed: z.int().min(0).default(0).describe('seed of the hash'),
    })
    .nullable()
    .default(null)
    .describe(
      'splits rows by a hash of their number: two datasets with the same fraction and seed never overlap',
    ),
  invalid_rows: z
    .enum(['error', 'skip'])
    .default('error')
    .describe('handling of a row that lacks a column or cannot be rendered: stop, or drop and count it'),
  ...lengthKeys(fallback),
});

export interface RowSelection {
  rows: readonly [number, number | null] | null;
  limit: number | null;
  holdout: { fraction: number; part: 'held_out' | 'rest'; seed: number } | null;
}

export interface FileOptions extends RowSelection {
  dataset_type: string;
  path: string | string[];
  format: (typeof fileFormats)[number] | 'auto';
  invalid_rows: 'error' | 'skip';
  long_documents: LongDocuments;
}

/** Resources for turning rows into documents. */
export interface DatasetContext {
  tokenizer: Tokenizer | null;
  vocabularySize: number | null;
  packedSequenceSize: number;
}

/** Rows of files, whose options are `fileKeys`; `textUnit` gives the part of a plain text file that is one row. */
export interface FileSource<Options> {
  kind: 'files';
  textUnit(options: Options): TextUnit;
}

/** Rows that `convert` makes from their numbers; `rows` gives how many there are. */
export interface GeneratedSource<Options> {
  kind: 'generated';
  rows(options: Options): number;
}

/** Rows of files; in a plain text file each line is one. */
export const linesOfFiles: FileSource<unknown> = { kind: 'files', textUnit: () => 'line' };

export interface DatasetDefinition<Options = unknown> {
  /** `dataset_type`. */
  type: string;
  schema: z.ZodObject;
  needsTokenizer: boolean;
  source: FileSource<Options> | GeneratedSource<Options>;
  /**
   * One row's documents.
   * @throws RowError for a row that cannot be one
   */
  convert(row: Row, options: Options, context: DatasetContext): Document[];
}

/** A row that cannot become a document; the caller adds file and row. */
export class RowError extends DataError {}

export function requireTokenizer(context: DatasetContext): Tokenizer {
  if (context.tokenizer === null)
    throw new DataError(
      'this dataset needs a tokenizer, and the model has none: put its tokenizer.json next to the weights',
    );
  return context.tokenizer;
}

/**
 * Returns the row as an object.
 * @throws RowError
 */
export function requireRecord({ value }: Row): Columns {
  const record = asRecord(value);
  if (record === null) throw new RowError(noRecord(value));
  return record;
}

/**
 * Returns a column that must be there, by name or dotted path.
 * @throws RowError
 */
export function requireColumn(record: Columns, name: string): unknown {
  const value = columnAt(record, name);
  if (value === undefined) throw new RowError(lacksColumns(record, [name]));
  return value;
}

/** Returns a field as text: text unchanged, anything else as compact JSON. */
export const toText = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
