/** The rows of a chunk, decoded and parsed. */
import { open } from 'node:fs/promises';
import { parse as parseCsv } from 'csv-parse/sync';
import { DataError } from '../../../../shared/errors.js';
import { formatCount } from '../../../../shared/format.js';
import type { Chunk, Row } from './chunk.js';
import { readParquetRows } from './parquet.js';
import type { TextUnit } from './split.js';

/**
 * Reads and parses one chunk.
 * @throws DataError naming file and line of the first row that is malformed
 */
export async function readRows(chunk: Chunk, unit: TextUnit): Promise<Row[]> {
  if (chunk.format === 'generated') {
    return Array.from({ length: chunk.rows }, (_, index) => ({
      index: chunk.firstRow + index,
      location: `row ${chunk.firstRow + index + 1}`,
      value: null,
      begins: true,
      ends: true,
    }));
  }
  if (chunk.format === 'parquet') return readParquetRows(chunk);
  const bytes = await readBytes(chunk.file!, chunk.start, chunk.end);
  const text = decode(bytes, chunk);
  const row = (offset: number, value: unknown, word = 'row'): Row => ({
    index: chunk.firstRow + offset,
    location: `${word} ${chunk.firstRowOfFile + offset + 1}`,
    value,
    begins: chunk.begins,
    ends: chunk.ends,
  });
  switch (chunk.format) {
    case 'jsonl':
      return text.split('\n').flatMap((line, offset) => {
        if (line.trim() === '') return [];
        return [
          row(offset, parseJson(line, `${chunk.file}: line ${chunk.firstRowOfFile + offset + 1}`), 'line'),
        ];
      });
    case 'json':
      return (
        parseJson(`[${text}]`, `${chunk.file}: from row ${chunk.firstRowOfFile + 1} on`) as unknown[]
      ).map((value, offset) => row(offset, value));
    case 'csv':
    case 'tsv':
      return csvRows(chunk, text, await readBytes(chunk.file!, 0, chunk.headerEnd), row);
    case 'text':
      if (unit === 'file') return [row(0, text, 'text')];
      if (unit === 'line') {
        return text
          .split('\n')
          .flatMap((line, offset) =>
            line.trim() === '' ? [] : [row(offset, line.replace(/\r$/, ''), 'line')],
          );
      }
      return text
        .split(/\n[ \t\r]*\n\s*/)
        .filter((paragraph) => paragraph.trim() !== '')
        .map((paragraph, offset) => row(offset, paragraph.trimEnd(), 'paragraph'));
  }
}

async function readBytes(file: string, start: number, end: number): Promise<Buffer> {
  const handle = await open(file, 'r');
  try {
    const buffer = Buffer.alloc(end - start);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
    if (bytesRead < buffer.length)
      throw new DataError(
        `${file}: the file became shorter while it was read; start again once nothing writes to it`,
      );
    return buffer;
  } finally {
    await handle.close();
  }
}

function decode(bytes: Buffer, chunk: Chunk): string {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: chunk.start > 0 });
  try {
    return decoder.decode(bytes);
  } catch {
    // Find the line: the first whose bytes do not decode by themselves.
    let start = 0;
    for (let line = 0; start < bytes.length; line += 1) {
      const newline = bytes.indexOf(0x0a, start);
      const end = newline < 0 ? bytes.length : newline + 1;
      try {
        decoder.decode(bytes.subarray(start, end));
      } catch {
        const word =
          chunk.format === 'jsonl'
            ? `line ${chunk.firstRowOfFile + line + 1}`
            : `from byte ${chunk.start + start} on`;
        throw new DataError(`${chunk.file}: ${word}: not valid UTF-8; save the file as UTF-8`);
      }
      start = end;
    }
    throw new DataError(`${chunk.file}: not valid UTF-8; save the file as UTF-8`);
  }
}

function parseJson(text: string, location: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new DataError(`${location}: malformed JSON: ${(error as Error).message}`, { cause: error });
  }
}

function csvRows(
  chunk: Chunk,
  text: string,
  header: Buffer,
  row: (offset: number, value: unknown) => Row,
): Row[] {
  const options = { delimiter: chunk.format === 'tsv' ? '\t' : ',', bom: true, relax_column_count: true };
  let names: string[];
  let records: string[][];
  try {
    names = (parseCsv(header, options) as string[][])[0] ?? [];
    records = parseCsv(text, { ...options, skip_empty_lines: false }) as string[][];
  } catch (error) {
    throw new DataError(
      `${chunk.file}: from row ${chunk.firstRowOfFile + 1} on: malformed CSV: ${(error as Error).message}`,
    );
  }
  return records.flatMap((record, offset) => {
    if (record.length === 1 && record[0] === '') return [];
    if (record.length !== names.length) {
      const counts = `${formatCount(record.length, 'field')} where the header names ${names.length}`;
      throw new DataError(`${chunk.file}: row ${chunk.firstRowOfFile + offset + 1}: ${counts}`);
    }
    return [row(offset, Object.fromEntries(names.map((name, column) => [name, record[column]])))];
  });
}
