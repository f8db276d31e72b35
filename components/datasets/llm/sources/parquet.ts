/** Parquet through hyparquet, loaded when the first such file is met. */
import { open } from 'node:fs/promises';
import type { Compressors, FileMetaData } from 'hyparquet';
import { DataError } from '../../../../shared/errors.js';
import { errorMessage } from '../../../../shared/format.js';
import type { Chunk, Row } from './chunk.js';
import { footerProblem } from './parquet_footer.js';

/** Rows of one chunk: a row group is cut into parts of this many. */
const chunkRows = 20_000;

/** Bytes of a page, unpacked. Writers make them of about one MiB. */
const maxPageBytes = 256 << 20;

interface OpenParquet {
  file: { byteLength: number; slice(start: number, end?: number): Promise<ArrayBuffer> };
  close(): Promise<void>;
}

/**
 * Returns the footer, its claims compared with the file.
 * @throws DataError
 */
async function readFooter(file: string, parquet: OpenParquet): Promise<FileMetaData> {
  const { parquetMetadataAsync } = await import('hyparquet');
  const metadata = await parquetMetadataAsync(parquet.file).catch((error: unknown) => {
    throw failure(file, error);
  });
  const problem = footerProblem(metadata, parquet.file.byteLength);
  if (problem !== null) throw failure(file, problem);
  return metadata;
}

async function openParquet(file: string): Promise<OpenParquet> {
  const handle = await open(file, 'r');
  const { size } = await handle.stat();
  return {
    file: {
      byteLength: size,
      slice: async (start, end = size) => {
        const data = new Uint8Array(end - start);
        const { bytesRead } = await handle.read(data, 0, data.length, start);
        return data.buffer.slice(0, bytesRead);
      },
    },
    close: () => handle.close(),
  };
}

const failure = (location: string, error: unknown): DataError =>
  new DataError(`${location}: cannot be read as Parquet: ${errorMessage(error)}; write the file again`, {
    cause: error,
  });

/** Returns the codecs, none of which allocates more for a page than one may have: the file states its length. */
async function boundedCompressors(): Promise<Compressors> {
  const { compressors } = await import('hyparquet-compressors');
  return Object.fromEntries(
    Object.entries(compressors as Compressors).map(([codec, decompress]) => [
      codec,
      (input: Uint8Array, length: number) => {
        if (!(length >= 0 && length <= maxPageBytes))
          throw new Error(`a page has ${length} bytes, and at most ${maxPageBytes} are possible`);
        return decompress!(input, length);
      },
    ]),
  );
}

export async function* splitParquet(file: string, firstRow: number): AsyncGenerator<Chunk> {
  const parquet = await openParquet(file);
  try {
    const metadata = await readFooter(file, parquet);
    let row = 0;
    for (const group of metadata.row_groups) {
      const groupEnd = row + Number(group.num_rows);
      for (; row < groupEnd; row = Math.min(groupEnd, row + chunkRows)) {
        const end = Math.min(groupEnd, row + chunkRows);
        yield {
          file,
          format: 'parquet',
          start: row,
          end,
          firstRow: firstRow + row,
          firstRowOfFile: row,
          rows: end - row,
          headerEnd: 0,
          begins: true,
          ends: true,
        };
      }
    }
  } finally {
    await parquet.close();
  }
}

/** Returns the rows [start, end) of the file, 64-bit integers as numbers. */
export async function readParquetRows(chunk: Chunk): Promise<Row[]> {
  const file = chunk.file!;
  const { parquetReadObjects } = await import('hyparquet');
  const parquet = await openParquet(file);
  try {
    const metadata = await readFooter(file, parquet);
    const values = await parquetReadObjects({
      file: parquet.file,
      metadata,
      compressors: await boundedCompressors(),
      rowStart: chunk.start,
      rowEnd: chunk.end,
    });
    return values.map((value, index) => ({
      index: chunk.firstRow + index,
      location: `row ${chunk.start + index + 1}`,
      value: plainNumbers(value),
      begins: true,
      ends: true,
    }));
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw failure(`${file}: rows ${chunk.start + 1} to ${chunk.end}`, error);
  } finally {
    await parquet.close();
  }
}

function plainNumbers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number | bigint>, Number);
  if (Array.isArray(value)) return value.map(plainNumbers);
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, plainNumbers(entry)]));
  }
  return value;
}
