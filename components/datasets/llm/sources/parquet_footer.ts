/** The claims of a Parquet footer, compared with its file before a byte of the data is read or memory set aside for it. */
import type { FileMetaData, SchemaElement } from 'hyparquet';

/** Rows of one row group. pyarrow writes 2^20 and at most 2^26; more come from a damaged footer. */
const maxGroupRows = 1 << 26;

/** Values of one column of a row group: its rows, or for lists the elements of all of them. */
const maxGroupValues = 1 << 28;

/** Returns what is wrong with a footer of a file of `bytes` bytes, naming the row group; null when nothing is. */
export function footerProblem(metadata: FileMetaData, bytes: number): string | null {
  const leaves = leafPaths(metadata.schema);
  if (leaves === null) return 'its schema is damaged';
  for (const [index, group] of metadata.row_groups.entries()) {
    const problem = groupProblem(group, leaves, bytes);
    if (problem !== null) return `row group ${index + 1}: ${problem}`;
  }
  return null;
}

type RowGroup = FileMetaData['row_groups'][number];

function groupProblem(
  { num_rows, columns }: RowGroup,
  leaves: readonly string[],
  bytes: number,
): string | null {
  const rows = Number(num_rows);
  if (!(rows >= 0 && rows <= maxGroupRows)) return `${rows} rows; at most ${maxGroupRows} are possible`;
  // The library assigns columns by path and starts to read them before it has looked at all of them.
  const paths = columns.map(({ meta_data }) => meta_data?.path_in_schema.join('.') ?? '');
  if (paths.join('\n') !== leaves.join('\n')) return 'its columns are not those of the schema';
  for (const [index, { meta_data: metaData }] of columns.entries()) {
    const column = `column ${paths[index]}`;
    const { num_values, dictionary_page_offset, data_page_offset, total_compressed_size } = metaData!;
    const values = Number(num_values);
    if (!(values >= rows && values <= maxGroupValues)) return `${column}: ${values} values in ${rows} rows`;
    const start = Number(dictionary_page_offset || data_page_offset);
    const end = start + Number(total_compressed_size);
    if (!(start >= 4 && end >= start && end <= bytes))
      return `${column}: its data is at bytes ${start} to ${end} of ${bytes}; is the file cut short?`;
    if (rows > 0 && end === start) return `${column}: ${rows} rows in 0 bytes`;
  }
  return null;
}

/** Returns the dotted paths of the schema's columns, in order; null when its tree does not come out even. */
function leafPaths(schema: readonly SchemaElement[]): string[] | null {
  const leaves: string[] = [];
  let next = 1;
  const visit = (children: number, path: readonly string[]): void => {
    for (let child = 0; child < children && next < schema.length; child += 1) {
      const { name, num_children } = schema[next]!;
      next += 1;
      if (num_children) visit(num_children, [...path, name]);
      else leaves.push([...path, name].join('.'));
    }
  };
  try {
    visit(schema[0]?.num_children ?? 0, []);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
  return next === schema.length ? leaves : null;
}
