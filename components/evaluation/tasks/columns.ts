/** Rows as objects with columns. */
import { rowError, type TaskRow } from '../task.js';

export type Row = Readonly<Record<string, unknown>>;

/** The row as an object. Throws DataError. */
export function recordOf(row: TaskRow, path: string | readonly string[]): Row {
  const { value } = row;
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw rowError(
    path,
    row,
    `expected an object with columns, found ${Array.isArray(value) ? 'a list' : typeof value}`,
  );
}

/** A column by name, or by dotted path into nested ones. Throws DataError where it is absent or null. */
export function columnOf(record: Row, name: string, row: TaskRow, path: string | readonly string[]): unknown {
  let value: unknown = record[name];
  if (!(name in record)) {
    value = record;
    for (const step of name.split('.'))
      value =
        typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[step] : undefined;
  }
  if (value === undefined || value === null)
    throw rowError(path, row, `lacks the column '${name}' (it has ${Object.keys(record).join(', ')})`);
  return value;
}

/** A column that must be text. */
export function textColumn(
  record: Row,
  name: string,
  row: TaskRow,
  path: string | readonly string[],
): string {
  const value = columnOf(record, name, row, path);
  if (typeof value === 'string') return value;
  throw rowError(path, row, `the column '${name}' is not text`);
}

/** A column that must be a list of texts, one at least. */
export function textsColumn(
  record: Row,
  name: string,
  row: TaskRow,
  path: string | readonly string[],
): string[] {
  const value = columnOf(record, name, row, path);
  if (Array.isArray(value) && value.length > 0 && value.every((entry) => typeof entry === 'string'))
    return value as string[];
  throw rowError(path, row, `the column '${name}' is not a list of texts`);
}

/** The rows of a request, all of them. */
export async function allRows(rows: AsyncIterable<TaskRow>): Promise<TaskRow[]> {
  const found: TaskRow[] = [];
  for await (const row of rows) found.push(row);
  return found;
}
