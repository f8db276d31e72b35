/** Yields the unchanged rows of files, one after the other, for readers that make no documents of them. */
import { DataError } from '../../../../shared/errors.js';
import { maxTextBytes, type Row } from './chunk.js';
import { detectFormat, resolveFiles } from './files.js';
import { splitParquet } from './parquet.js';
import { readRows } from './rows.js';
import { splitFile, type TextUnit } from './split.js';

/**
 * Reads every row that paths, globs and folders name, a chunk at a time. A plain text read as one `file` comes whole.
 * @throws DataError naming file and line
 */
export async function* readFileRows(
  path: string | readonly string[],
  textUnit: TextUnit,
): AsyncGenerator<Row> {
  let firstRow = 0;
  for (const { path: file } of await resolveFiles(path)) {
    const format = await detectFormat(file, 'auto');
    const chunks =
      format === 'parquet' ? splitParquet(file, firstRow) : splitFile(file, format, textUnit, firstRow);
    let pieces = '';
    let rows = 0;
    for await (const chunk of chunks) {
      for (const row of await readRows(chunk, textUnit)) {
        const isWhole = row.begins && row.ends;
        if (!isWhole) pieces += row.value as string;
        if (pieces.length > maxTextBytes)
          throw new DataError(
            `${file}: a text of more than ${maxTextBytes >> 20} MiB; cut it into several files`,
          );
        if (isWhole) yield row;
        else if (row.ends) yield { ...row, value: pieces, begins: true };
      }
      rows = chunk.firstRow + chunk.rows - firstRow;
    }
    firstRow += rows;
  }
}
