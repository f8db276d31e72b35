/** Rows as objects with columns. */
import { asRecord, columnAt, lacksColumns, noRecord, type Row } from '../../../shared/rows.js';
import { rowError, type TaskRow } from '../scoring/task.js';

/**
 * Returns the row as an object.
 * @throws DataError
 */
export function requireRecord(row: TaskRow, path: string | readonly string[]): Row {
  const record = asRecord(row.value);
  if (record === null) throw rowError(path, row, noRecord(row.value));
  return record;
}

/**
 * Returns a column that must be there, by name or dotted path.
 * @throws DataError
 */
export function requireColumn(
  record: Row,
  name: string,
  row: TaskRow,
  path: string | readonly string[],
): unknown {
  const value = columnAt(record, name);
  if (value === undefined) throw rowError(path, row, lacksColumns(record, [name]));
  return value;
}

/** Returns the text of a column that must be text. */
export function textColumn(
  record: Row,
  name: string,
  row: TaskRow,
  path: string | readonly string[],
): string {
  const value = requireColumn(record, name, row, path);
  if (typeof value === 'string') return value;
  throw rowError(path, row, `the column '${name}' is not text`);
}

/** Returns the texts of a column that must be a list of texts, one at least. */
export function textsColumn(
  record: Row,
  name: string,
  row: TaskRow,
  path: string | readonly string[],
): string[] {
  const value = requireColumn(record, name, row, path);
  if (Array.isArray(value) && value.length > 0 && value.every((entry) => typeof entry === 'string'))
    return value as string[];
  throw rowError(path, row, `the column '${name}' is not a list of texts`);
}

/** Returns the rows of a request, all of them. */
export async function allRows(rows: AsyncIterable<TaskRow>): Promise<TaskRow[]> {
  const collected: TaskRow[] = [];
  for await (const row of rows) collected.push(row);
  return collected;
}
