/**
 * Cuts files into chunks at row borders by looking only at bytes, so that workers can decode and parse in parallel and
 * nothing is ever read whole. Each scanner receives the bytes in order and reports where rows end.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { DataError } from '../../../../shared/errors.js';
import { type Chunk, chunkBytes, maxRowBytes } from './chunk.js';
import type { FileFormat } from './files.js';

/** Reports the end (exclusive, in file offsets) of every row in a block of bytes that starts at `offset`. */
interface RowScanner {
  scan(block: Buffer, offset: number, rowEnds: (start: number, end: number) => void): void;
  /** Ends the file of `size` bytes: emits the last row when no border ended it. */
  finish(size: number, rowEnds: (start: number, end: number) => void): void;
}

const wholeRow = { begins: true, ends: true };
const newline = 0x0a;
const quote = 0x22;

class LineScanner implements RowScanner {
  #start = 0;

  scan(block: Buffer, offset: number, rowEnds: (start: number, end: number) => void): void {
    for (
      let position = block.indexOf(newline);
      position >= 0;
      position = block.indexOf(newline, position + 1)
    ) {
      rowEnds(this.#start, offset + position + 1);
      this.#start = offset + position + 1;
    }
  }

  finish(size: number, rowEnds: (start: number, end: number) => void): void {
    if (this.#start < size) rowEnds(this.#start, size);
  }
}

/** RFC 4180: a line break within quotes is part of its field. A doubled quote closes and opens, which comes to the same. */
class CsvScanner implements RowScanner {
  #start = 0;
  #quoted = false;

  scan(block: Buffer, offset: number, rowEnds: (start: number, end: number) => void): void {
    for (let position = 0; position < block.length; position += 1) {
      const byte = block[position];
      if (byte === quote) this.#quoted = !this.#quoted;
      else if (byte === newline && !this.#quoted) {
        rowEnds(this.#start, offset + position + 1);
        this.#start = offset + position + 1;
      }
    }
  }

  finish(size: number, rowEnds: (start: number, end: number) => void): void {
    if (this.#start < size) rowEnds(this.#start, size);
  }
}

/** Paragraphs: text up to and with a blank line. */
class ParagraphScanner implements RowScanner {
  #start = 0;
  #lineHasText = false;
  #rowHasText = false;

  scan(block: Buffer, offset: number, rowEnds: (start: number, end: number) => void): void {
    for (let position = 0; position < block.length; position += 1) {
      const byte = block[position]!;
      if (byte === newline) {
        if (!this.#lineHasText && this.#rowHasText) {
          rowEnds(this.#start, offset + position + 1);
          this.#start = offset + position + 1;
          this.#rowHasText = false;
        }
        this.#lineHasText = false;
      } else if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) {
        this.#lineHasText = true;
        this.#rowHasText = true;
      }
    }
  }

  finish(size: number, rowEnds: (start: number, end: number) => void): void {
    if (this.#rowHasText && this.#start < size) rowEnds(this.#start, size);
  }
}

/**
 * The elements of a JSON file's array: the top one, or the one under the key `data` of a top object (SQuAD, and exports of
 * `datasets`). Knows strings and nesting; everything else is left to JSON.parse.
 */
class JsonArrayScanner implements RowScanner {
  #depth = 0;
  /** Depth of the array whose elements are rows; 0 until it is found. */
  #arrayDepth = 0;
  #done = false;
  #inString = false;
  #escaped = false;
  #elementStart = -1;
  #key = '';
  #lastString = '';
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  scan(block: Buffer, offset: number, rowEnds: (start: number, end: number) => void): void {
    for (let position = 0; position < block.length && !this.#done; position += 1) {
      const byte = block[position]!;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === 0x5c) this.#escaped = true;
        else if (byte === quote) this.#inString = false;
        else if (this.#arrayDepth === 0 && this.#depth === 1 && this.#lastString.length < 16)
          this.#lastString += String.fromCharCode(byte);
        continue;
      }
      if (byte <= 0x20) continue;
      const inRows = this.#arrayDepth > 0 && this.#depth === this.#arrayDepth;
      if (inRows && (byte === 0x2c || byte === 0x5d)) {
        if (this.#elementStart >= 0) rowEnds(this.#elementStart, offset + position);
        this.#elementStart = -1;
        if (byte === 0x5d) this.#done = true;
        continue;
      }
      if (inRows && this.#elementStart < 0) this.#elementStart = offset + position;
      if (byte === quote) {
        this.#inString = true;
        this.#lastString = '';
      } else if (byte === 0x3a && this.#depth === 1) {
        this.#key = this.#lastString;
      } else if (byte === 0x5b || byte === 0x7b) {
        this.#depth += 1;
        const rows = this.#depth === 1 || (this.#depth === 2 && this.#key === 'data');
        if (byte === 0x5b && this.#arrayDepth === 0 && rows) this.#arrayDepth = this.#depth;
      } else if (byte === 0x5d || byte === 0x7d) {
        this.#depth -= 1;
      }
    }
  }

  finish(): void {
    if (this.#arrayDepth === 0)
      throw new DataError(`${this.#file}: expected a JSON array of rows, or an object with one under 'data'`);
    if (!this.#done)
      throw new DataError(`${this.#file}: the JSON array does not end; is the file cut short?`);
  }
}

const longRow = (location: string): DataError =>
  new DataError(
    `${location} is longer than ${maxRowBytes >> 20} MiB, the most that a row may have; is the file's format right, and are its quotes closed?`,
  );

/** Unit of a text file that is one document. */
export type TextUnit = 'file' | 'line' | 'paragraph';

/** Chunks of one file in any format but Parquet, which has borders of its own. */
export async function* splitFile(
  file: string,
  format: Exclude<FileFormat, 'parquet'>,
  unit: TextUnit,
  firstRow: number,
): AsyncGenerator<Chunk> {
  if (format === 'text' && unit === 'file') {
    yield* splitWholeText(file, firstRow);
    return;
  }
  const csv = format === 'csv' || format === 'tsv';
  const scanner: RowScanner = csv
    ? new CsvScanner()
    : format === 'json'
      ? new JsonArrayScanner(file)
      : format === 'text' && unit === 'paragraph'
        ? new ParagraphScanner()
        : new LineScanner();

  let headerEnd = csv ? -1 : 0;
  let rows = 0;
  let current: Chunk | null = null;
  const ready: Chunk[] = [];
  const rowEnds = (start: number, end: number): void => {
    if (end - start > maxRowBytes) {
      throw longRow(`${file}: ${scanner instanceof LineScanner ? 'line' : 'row'} ${rows + 1}`);
    }
    if (headerEnd < 0) {
      headerEnd = end;
      return;
    }
    current ??= {
      file,
      format,
      start,
      end,
      firstRow: firstRow + rows,
      firstRowOfFile: rows,
      rows: 0,
      headerEnd,
      ...wholeRow,
    };
    current.end = end;
    current.rows += 1;
    rows += 1;
    if (current.end - current.start >= chunkBytes) {
      ready.push(current);
      current = null;
    }
  };

  const handle = await open(file, 'r');
  try {
    const size = (await handle.stat()).size;
    const block = Buffer.alloc(1 << 20);
    let offset = 0;
    while (offset < size) {
      const { bytesRead } = await handle.read(block, 0, block.length, offset);
      if (bytesRead === 0) break;
      scanner.scan(block.subarray(0, bytesRead), offset, rowEnds);
      offset += bytesRead;
      yield* ready.splice(0);
    }
    if (size > 0) scanner.finish(size, rowEnds);
  } finally {
    await handle.close();
  }
  if (current !== null) ready.push(current);
  yield* ready;
}

/** Splits a text file that is one document into pieces that end with a line, each tokenized by itself. */
async function* splitWholeText(file: string, firstRow: number): AsyncGenerator<Chunk> {
  const handle = await open(file, 'r');
  try {
    const size = (await handle.stat()).size;
    let start = 0;
    while (start < size) {
      const end = await lineEndAfter(file, handle, Math.min(size, start + chunkBytes), size);
      yield {
        file,
        format: 'text',
        start,
        end,
        firstRow,
        firstRowOfFile: 0,
        rows: 1,
        headerEnd: 0,
        begins: start === 0,
        ends: end === size,
      };
      start = end;
    }
  } finally {
    await handle.close();
  }
}

async function lineEndAfter(file: string, handle: FileHandle, from: number, size: number): Promise<number> {
  const block = Buffer.alloc(1 << 16);
  for (let offset = from; offset < size; offset += block.length) {
    const { bytesRead } = await handle.read(block, 0, block.length, offset);
    const position = block.subarray(0, bytesRead).indexOf(newline);
    if (position >= 0) return offset + position + 1;
    if (offset - from > maxRowBytes) throw longRow(`${file}: the line at byte ${from}`);
  }
  return size;
}
