/**
 * The safetensors format (https://github.com/huggingface/safetensors): eight bytes of little-endian header length, a JSON
 * header, then the tensors' bytes without a gap. The reader trusts nothing and never touches the data; the writer streams.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { ModelError } from '../errors.js';
import { writeAtomically } from '../files.js';
import { errorMessage } from '../format.js';
import type { Storage } from '../storage/storage.js';

/** Bits per element of the dtypes that the format names and that end on a byte. */
const bits = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  U16: 16,
  I16: 16,
  F16: 16,
  BF16: 16,
  U32: 32,
  I32: 32,
  F32: 32,
  U64: 64,
  I64: 64,
  F64: 64,
} as const;

export type SafetensorsDType = keyof typeof bits;

/** Largest header the reference implementation accepts. */
const maxHeaderBytes = 100_000_000;
const maxRank = 32;

export interface SafetensorsEntry {
  dtype: SafetensorsDType;
  shape: number[];
  /** Offset from the start of the file. */
  byteOffset: number;
  byteLength: number;
}

export interface SafetensorsHeader {
  /** Entries in the order of their data. */
  tensors: Map<string, SafetensorsEntry>;
  metadata: Record<string, string>;
  /** Byte offset of the tensors' data. */
  dataStart: number;
  fileBytes: number;
}

/** Returns the size of one element in bytes. */
export function safetensorsDTypeBytes(dtype: SafetensorsDType): number {
  return bits[dtype] / 8;
}

/**
 * Reads and checks the header of a local file.
 * @throws ModelError naming the file and the tensor
 */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsHeader> {
  const handle = await open(file).catch((cause: unknown) => {
    throw new ModelError(`${file}: cannot be opened: ${errorMessage(cause)}`, { cause });
  });
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new ModelError(`${file}: not a file`);
    return await readHeader(file, stat.size, async (start, end) => {
      const buffer = Buffer.alloc(end - start);
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
      if (bytesRead !== buffer.length) throw new ModelError(`${file}: ends while its header is read`);
      return buffer;
    });
  } finally {
    await handle.close();
  }
}

/** Reads and checks the header of a stored object by two range reads. */
export async function readStoredSafetensorsHeader(storage: Storage, key: string): Promise<SafetensorsHeader> {
  const location = `${storage.uri}/${key}`;
  const size = await storage.size(key);
  if (size === null) throw new ModelError(`${location}: no such object`);
  return readHeader(location, size, (start, end) => storage.readRange(key, start, end));
}

async function readHeader(
  location: string,
  fileBytes: number,
  read: (start: number, end: number) => Promise<Buffer>,
): Promise<SafetensorsHeader> {
  if (fileBytes < 8)
    throw new ModelError(`${location}: ${fileBytes} bytes are too few for a safetensors file`);
  const declared = (await read(0, 8)).readBigUInt64LE(0);
  if (declared > BigInt(maxHeaderBytes)) {
    throw new ModelError(
      `${location}: declares a header of ${declared} bytes, more than the format's ${maxHeaderBytes}; not a safetensors file, or damaged`,
    );
  }
  const length = Number(declared);
  if (8 + length > fileBytes) {
    throw new ModelError(
      `${location}: declares a header of ${length} bytes, but the file has ${fileBytes}; truncated, or not a safetensors file`,
    );
  }
  return parseSafetensorsHeader(await read(8, 8 + length), fileBytes, location);
}

/**
 * Checks a header's JSON against the file's size: UTF-8, no duplicate names, known dtypes, sane shapes, and data that
 * fill the rest of the file without gap or overlap. `location` names the file in errors.
 */
export function parseSafetensorsHeader(
  json: Uint8Array,
  fileBytes: number,
  location: string,
): SafetensorsHeader {
  const text = decodeUtf8(json, location);
  if (!text.startsWith('{')) throw new ModelError(`${location}: its header does not begin with '{'`);
  let header: Record<string, unknown>;
  try {
    header = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new ModelError(`${location}: its header is not valid JSON: ${errorMessage(cause)}`, { cause });
  }
  const duplicate = duplicateKey(text);
  if (duplicate !== null)
    throw new ModelError(`${location}: its header names ${JSON.stringify(duplicate)} twice`);

  const dataStart = 8 + json.length;
  const entries: [string, SafetensorsEntry][] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = checkMetadata(value, location);
    else entries.push([name, checkEntry(name, value, dataStart, location)]);
  }
  entries.sort(([, a], [, b]) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  checkCoverage(entries, dataStart, fileBytes, location);
  return { tensors: new Map(entries), metadata, dataStart, fileBytes };
}

function decodeUtf8(bytes: Uint8Array, location: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ModelError(`${location}: its header is not valid UTF-8`, { cause });
  }
}

function checkMetadata(value: unknown, location: string): Record<string, string> {
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isMap || Object.values(value).some((entry) => typeof entry !== 'string')) {
    throw new ModelError(`${location}: '__metadata__' must map strings to strings`);
  }
  return value as Record<string, string>;
}

function checkEntry(name: string, value: unknown, dataStart: number, location: string): SafetensorsEntry {
  const fail = (what: string): never => {
    throw new ModelError(`${location}: tensor ${JSON.stringify(name)}: ${what}`);
  };
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return fail('its entry is not an object');
  const unexpected = Object.keys(value).find((key) => !['dtype', 'shape', 'data_offsets'].includes(key));
  if (unexpected !== undefined) return fail(`unexpected key ${JSON.stringify(unexpected)}`);
  const { dtype, shape, data_offsets: offsets } = value as Record<string, unknown>;
  if (typeof dtype !== 'string' || !Object.hasOwn(bits, dtype)) {
    return fail(`unknown dtype ${JSON.stringify(dtype)}; known: ${Object.keys(bits).join(', ')}`);
  }
  if (!Array.isArray(shape) || shape.length > maxRank || !shape.every(isCount))
    return fail('its shape is not a list of sizes');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return fail('its data_offsets are not two positions');
  }
  const [start, end] = offsets as [number, number];
  if (end < start) return fail(`its data end (${end}) before they start (${start})`);
  const elements = (shape as number[]).reduce((product, size) => product * size, 1);
  const bytes = elements * safetensorsDTypeBytes(dtype as SafetensorsDType);
  if (!Number.isSafeInteger(bytes)) return fail(`shape [${shape}] is absurdly large`);
  if (bytes !== end - start) {
    return fail(`${dtype} of shape [${shape}] takes ${bytes} bytes, but its offsets span ${end - start}`);
  }
  return {
    dtype: dtype as SafetensorsDType,
    shape: shape as number[],
    byteOffset: dataStart + start,
    byteLength: bytes,
  };
}

function checkCoverage(
  entries: [string, SafetensorsEntry][],
  dataStart: number,
  fileBytes: number,
  location: string,
): void {
  let expected = dataStart;
  let previous: string | null = null;
  for (const [name, entry] of entries) {
    const relation = previous === null ? 'the header' : `tensor ${JSON.stringify(previous)}`;
    if (entry.byteOffset < expected)
      throw new ModelError(`${location}: tensor ${JSON.stringify(name)} overlaps ${relation}`);
    if (entry.byteOffset > expected) {
      throw new ModelError(
        `${location}: a hole of ${entry.byteOffset - expected} bytes between ${relation} and tensor ${JSON.stringify(name)}`,
      );
    }
    expected += entry.byteLength;
    if (expected > fileBytes) {
      throw new ModelError(
        `${location}: tensor ${JSON.stringify(name)} ends at byte ${expected}, but the file has ${fileBytes}; truncated?`,
      );
    }
    previous = name;
  }
  if (expected !== fileBytes)
    throw new ModelError(`${location}: ${fileBytes - expected} bytes follow the last tensor`);
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** Returns the first key that an object of valid JSON text holds twice, which JSON.parse would drop silently. */
function duplicateKey(text: string): string | null {
  const open: (Set<string> | null)[] = [];
  const token = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const tokenText = match[0];
    if (tokenText === '{') open.push(new Set());
    else if (tokenText === '[') open.push(null);
    else if (tokenText === '}' || tokenText === ']') open.pop();
    else if (match[1] !== undefined) {
      const key = JSON.parse(tokenText.slice(0, tokenText.length - match[1].length)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return null;
}

/** A tensor to be written: its description, and its bytes in little-endian row-major chunks of any size. */
export interface SafetensorsSource {
  name: string;
  dtype: SafetensorsDType;
  shape: number[];
  chunks(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export interface SafetensorsDescription {
  name: string;
  dtype: SafetensorsDType;
  shape: number[];
}

/** The header to write, and where each tensor will lie. The same tensors give the same bytes in whatever order they come. */
export interface SafetensorsLayout<T extends SafetensorsDescription = SafetensorsDescription> {
  /** Length prefix, JSON, padding. */
  header: Buffer;
  /**
   * Tensors in the order of their data: larger elements first, then by name, so that each is aligned to its element.
   */
  tensors: { tensor: T; byteOffset: number; byteLength: number }[];
  fileBytes: number;
}

/**
 * Lays a file out. `metadata` defaults to what transformers expects.
 * @throws ModelError on duplicate names
 */
export function layoutSafetensors<T extends SafetensorsDescription>(
  tensors: readonly T[],
  metadata: Record<string, string> = { format: 'pt' },
): SafetensorsLayout<T> {
  const sorted = [...tensors].sort((a, b) => bits[b.dtype] - bits[a.dtype] || compare(a.name, b.name));
  const header: [string, unknown][] = [];
  const sortedMetadata = Object.entries(metadata).sort(([a], [b]) => compare(a, b));
  if (sortedMetadata.length > 0) header.push(['__metadata__', Object.fromEntries(sortedMetadata)]);
  const seen = new Set(['__metadata__']);
  const laidOut: { tensor: T; byteOffset: number; byteLength: number }[] = [];
  let end = 0;
  for (const tensor of sorted) {
    if (seen.has(tensor.name))
      throw new ModelError(`safetensors: two tensors are named ${JSON.stringify(tensor.name)}`);
    seen.add(tensor.name);
    const byteLength =
      tensor.shape.reduce((product, size) => product * size, 1) * safetensorsDTypeBytes(tensor.dtype);
    header.push([
      tensor.name,
      { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [end, end + byteLength] },
    ]);
    laidOut.push({ tensor, byteOffset: end, byteLength });
    end += byteLength;
  }
  // Assembled by hand because an object would put names that look like integers first.
  const json = `{${header.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const jsonBytes = Buffer.byteLength(json);
  const padded = Math.ceil(jsonBytes / 8) * 8;
  const bytes = Buffer.alloc(8 + padded, ' ');
  bytes.writeBigUInt64LE(BigInt(padded), 0);
  bytes.write(json, 8);
  for (const entry of laidOut) entry.byteOffset += bytes.length;
  return { header: bytes, tensors: laidOut, fileBytes: bytes.length + end };
}

/**
 * Yields a whole file as a stream; holds one chunk at a time.
 * @throws ModelError when a source gives too few or too many bytes
 */
export async function* streamSafetensors(
  sources: readonly SafetensorsSource[],
  metadata?: Record<string, string>,
): AsyncGenerator<Uint8Array> {
  const layout = layoutSafetensors(sources, metadata);
  yield layout.header;
  for (const { tensor, byteLength } of layout.tensors) {
    let bytesWritten = 0;
    for await (const chunk of tensor.chunks()) {
      bytesWritten += chunk.byteLength;
      if (bytesWritten > byteLength) break;
      yield chunk;
    }
    if (bytesWritten !== byteLength) {
      throw new ModelError(
        `safetensors: tensor ${JSON.stringify(tensor.name)} takes ${byteLength} bytes, but its source gave ${bytesWritten > byteLength ? 'more' : bytesWritten}`,
      );
    }
  }
}

export interface WrittenFile {
  bytes: number;
  /** Lower-case hex. */
  sha256: string;
}

/** Writes a local file; it appears whole or not at all. */
export async function writeSafetensors(
  file: string,
  sources: readonly SafetensorsSource[],
  metadata?: Record<string, string>,
): Promise<WrittenFile> {
  const hash = createHash('sha256');
  let bytes = 0;
  const measured = async function* () {
    for await (const chunk of streamSafetensors(sources, metadata)) {
      hash.update(chunk);
      bytes += chunk.byteLength;
      yield chunk;
    }
  };
  await writeAtomically(file, measured());
  return { bytes, sha256: hash.digest('hex') };
}

/** Compares by UTF-16 code unit, whatever the locale. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
