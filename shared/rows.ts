/** Rows as objects with columns: what datasets and tasks read alike. */

export type Row = Readonly<Record<string, unknown>>;

/** Returns the row as an object with columns; null when it is none. */
export function asRecord(value: unknown): Row | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Row) : null;
}

/** Says why a row has no columns. */
export const noRecord = (value: unknown): string =>
  `expected an object with columns, found ${Array.isArray(value) ? 'a list' : typeof value}`;

/** Returns a column by name, or by dotted path into nested ones (`answers.text.0`); undefined where it is absent or null. */
export function columnAt(record: Row, name: string): unknown {
  if (Object.hasOwn(record, name)) return record[name] ?? undefined;
  let value: unknown = record;
  for (const step of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Record<string, unknown>)[step];
  }
  return value ?? undefined;
}

/** Says that a row lacks columns, and which it has. */
export function lacksColumns(
  record: Row,
  names: readonly string[],
  conjunction: ', ' | ' or ' = ', ',
): string {
  const columnList = names.map((name) => `'${name}'`).join(conjunction);
  const noun = names.length > 1 && conjunction === ', ' ? 'columns' : 'column';
  return `lacks the ${noun} ${columnList} (it has ${Object.keys(record).join(', ')})`;
}
