/** Files of JSON objects, one a line, as commands read them. */
import { DataError } from '../../shared/errors.js';

export interface JsonLine {
  /** `file:line`, for errors. */
  location: string;
  value: Record<string, unknown>;
}

/**
 * Yields the objects of a file, blank lines left out.
 * @throws DataError naming file and line
 */
export async function* readJsonLines(
  chunks: AsyncIterable<Uint8Array>,
  file: string,
): AsyncGenerator<JsonLine> {
  let number = 0;
  for await (const bytes of splitLines(chunks)) {
    number += 1;
    const location = `${file}:${number}`;
    const text = decode(bytes, location);
    if (text.trim() !== '') yield { location, value: parseObject(text, location) };
  }
}

function parseObject(text: string, location: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError(`${location}: malformed JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new DataError(`${location}: a line must be a JSON object`);
}

function decode(bytes: Uint8Array, location: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new DataError(`${location}: not valid UTF-8; save the file as UTF-8`, { cause });
  }
}

/** Yields the bytes between newlines, which are decoded only when whole: a character may span two chunks. */
async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let parts: Uint8Array[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      yield Buffer.concat([...parts, chunk.subarray(start, end)]);
      parts = [];
      start = end + 1;
    }
    if (start < chunk.length) parts.push(chunk.subarray(start));
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}
