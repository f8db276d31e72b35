/**
 * The header of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3): metadata and
 * tensor table. Trusts nothing, reads only the header, and checks every tensor's range against the file.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { ModelError } from '../../../shared/errors.js';
import { HeaderReader } from './reader.js';

export type GgufScalar = number | bigint | boolean | string;
export type GgufValue = GgufScalar | GgufScalar[];

export interface GgufTensor {
  name: string;
  /** Row-major, slowest dimension first, as everywhere else here; the file lists the fastest first. */
  shape: number[];
  /** ggml type number. */
  type: number;
  elements: number;
  /** Offset from the start of the file. */
  byteOffset: number;
  byteLength: number;
}

export interface GgufFile {
  file: string;
  fileBytes: number;
  metadata: Map<string, GgufValue>;
  tensors: Map<string, GgufTensor>;
}

/** The ggml types that can be dequantized: elements and bytes of a block. */
export const ggmlTypes: ReadonlyMap<number, { name: string; block: number; bytes: number }> = new Map([
  [0, { name: 'F32', block: 1, bytes: 4 }],
  [1, { name: 'F16', block: 1, bytes: 2 }],
  [2, { name: 'Q4_0', block: 32, bytes: 18 }],
  [3, { name: 'Q4_1', block: 32, bytes: 20 }],
  [6, { name: 'Q5_0', block: 32, bytes: 22 }],
  [7, { name: 'Q5_1', block: 32, bytes: 24 }],
  [8, { name: 'Q8_0', block: 32, bytes: 34 }],
  [12, { name: 'Q4_K', block: 256, bytes: 144 }],
  [14, { name: 'Q6_K', block: 256, bytes: 210 }],
  [30, { name: 'BF16', block: 1, bytes: 2 }],
]);

const maxArray = 1 << 24;
const maxRank = 4;
/** Bytes of the fixed-size value types. */
const scalarBytes: Record<number, number> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};
const stringType = 8;
const arrayType = 9;

/**
 * Parses and checks the header of a local file.
 * @throws ModelError naming the file and the key or tensor
 */
export function parseGguf(file: string): GgufFile {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (cause) {
    throw new ModelError(`${file}: cannot be opened: ${(cause as Error).message}`, { cause });
  }
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new ModelError(`${file}: not a file`);
    return parse(new HeaderReader(descriptor, stat.size, file), file, stat.size);
  } finally {
    closeSync(descriptor);
  }
}

function parse(reader: HeaderReader, file: string, fileBytes: number): GgufFile {
  if (reader.bytes(4, 'the magic').toString('latin1') !== 'GGUF')
    throw new ModelError(`${file}: not a GGUF file`);
  const version = reader.u32('the version');
  if (version !== 2 && version !== 3) {
    const hint = version === 1 || version > 0xffff ? '; convert it with a current llama.cpp' : '';
    throw new ModelError(`${file}: GGUF version ${version} is not supported (2 and 3 are)${hint}`);
  }
  // A tensor entry takes at least 24 bytes, a metadata entry at least 13.
  const tensorCount = reader.count('the number of tensors', 24);
  const keyCount = reader.count('the number of metadata keys', 13);

  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = reader.string(`metadata key ${i}`);
    if (metadata.has(key)) throw new ModelError(`${file}: metadata key ${JSON.stringify(key)} occurs twice`);
    metadata.set(key, readValue(reader, reader.u32(key), key, file));
  }
  const entries = readTensorTable(reader, tensorCount, file);
  const alignment = metadata.get('general.alignment') ?? 32;
  if (
    typeof alignment !== 'number' ||
    alignment < 1 ||
    alignment > 1 << 20 ||
    (alignment & (alignment - 1)) !== 0
  ) {
    throw new ModelError(`${file}: general.alignment ${alignment} is not a power of two`);
  }
  const dataStart = Math.ceil(reader.position / alignment) * alignment;
  return {
    file,
    fileBytes,
    metadata,
    tensors: locateTensors(entries, dataStart, alignment, file, fileBytes),
  };
}

function readValue(reader: HeaderReader, type: number, key: string, file: string): GgufValue {
  if (type !== arrayType) return readScalar(reader, type, key, file);
  const elementType = reader.u32(key);
  if (elementType === arrayType)
    throw new ModelError(`${file}: metadata ${key}: arrays of arrays are not supported`);
  const elementBytes = elementType === stringType ? 8 : scalarBytes[elementType];
  if (elementBytes === undefined)
    throw new ModelError(`${file}: metadata ${key}: unknown value type ${elementType}`);
  const length = reader.count(`the length of ${key}`, elementBytes);
  if (length > maxArray)
    throw new ModelError(`${file}: metadata ${key}: ${length} elements are more than ${maxArray}`);
  return Array.from({ length }, () => readScalar(reader, elementType, key, file));
}

function readScalar(reader: HeaderReader, type: number, key: string, file: string): GgufScalar {
  if (type === stringType) return reader.string(key);
  const size = scalarBytes[type];
  if (size === undefined) throw new ModelError(`${file}: metadata ${key}: unknown value type ${type}`);
  const bytes = reader.bytes(size, key);
  switch (type) {
    case 0:
      return bytes.readUInt8(0);
    case 1:
      return bytes.readInt8(0);
    case 2:
      return bytes.readUInt16LE(0);
    case 3:
      return bytes.readInt16LE(0);
    case 4:
      return bytes.readUInt32LE(0);
    case 5:
      return bytes.readInt32LE(0);
    case 6:
      return bytes.readFloatLE(0);
    case 7:
      return bytes.readUInt8(0) !== 0;
    case 10:
      return integer(bytes.readBigUInt64LE(0));
    case 11:
      return integer(bytes.readBigInt64LE(0));
    default:
      return bytes.readDoubleLE(0);
  }
}

function integer(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

interface TensorEntry {
  name: string;
  dimensions: number[];
  type: number;
  offset: number;
}

function readTensorTable(reader: HeaderReader, count: number, file: string): TensorEntry[] {
  const entries: TensorEntry[] = [];
  for (let i = 0; i < count; i++) {
    const name = reader.string(`the name of tensor ${i}`);
    const subject = `tensor ${JSON.stringify(name)}`;
    const rank = reader.u32(subject);
    if (rank > maxRank)
      throw new ModelError(`${file}: ${subject} has ${rank} dimensions; at most ${maxRank} are possible`);
    const dimensions = Array.from({ length: rank }, () => reader.u64(subject));
    entries.push({ name, dimensions, type: reader.u32(subject), offset: reader.u64(subject) });
  }
  return entries;
}

function locateTensors(
  entries: TensorEntry[],
  dataStart: number,
  alignment: number,
  file: string,
  fileBytes: number,
): Map<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  for (const { name, dimensions, type, offset } of entries) {
    const fail = (what: string): never => {
      throw new ModelError(`${file}: tensor ${JSON.stringify(name)}: ${what}`);
    };
    if (tensors.has(name)) fail('occurs twice');
    const ggmlType = ggmlTypes.get(type);
    if (ggmlType === undefined) {
      const supported = [...ggmlTypes.values()].map((t) => t.name).join(', ');
      return fail(`ggml type ${type} is not supported; supported: ${supported}`);
    }
    const elements = dimensions.reduce((product, size) => product * size, 1);
    const row = dimensions[0] ?? 1;
    if (row % ggmlType.block !== 0)
      fail(`rows of ${row} elements do not divide into ${ggmlType.name} blocks of ${ggmlType.block}`);
    const byteLength = (elements / ggmlType.block) * ggmlType.bytes;
    if (!Number.isSafeInteger(elements) || !Number.isSafeInteger(byteLength))
      fail(`shape [${dimensions}] is absurdly large`);
    if (offset % alignment !== 0) fail(`offset ${offset} is not a multiple of the alignment, ${alignment}`);
    const byteOffset = dataStart + offset;
    if (byteOffset + byteLength > fileBytes) {
      fail(`ends at byte ${byteOffset + byteLength}, but the file has ${fileBytes}; truncated?`);
    }
    tensors.set(name, { name, shape: [...dimensions].reverse(), type, elements, byteOffset, byteLength });
  }
  checkOverlap(tensors, file);
  return tensors;
}

function checkOverlap(tensors: Map<string, GgufTensor>, file: string): void {
  const sorted = [...tensors.values()].sort((a, b) => a.byteOffset - b.byteOffset);
  for (const [index, tensor] of sorted.entries()) {
    const previous = sorted[index - 1];
    if (previous !== undefined && previous.byteOffset + previous.byteLength > tensor.byteOffset) {
      throw new ModelError(
        `${file}: tensor ${JSON.stringify(tensor.name)} overlaps tensor ${JSON.stringify(previous.name)}`,
      );
    }
  }
}

/**
 * Returns a metadata value of the wanted type, or undefined when absent.
 * @throws ModelError when it is of another type
 */
export function ggufMeta(gguf: GgufFile, key: string, type: 'number'): number | undefined;
export function ggufMeta(gguf: GgufFile, key: string, type: 'string'): string | undefined;
export function ggufMeta(gguf: GgufFile, key: string, type: 'boolean'): boolean | undefined;
export function ggufMeta(
  gguf: GgufFile,
  key: string,
  type: 'number' | 'string' | 'boolean',
): GgufScalar | undefined {
  const value = gguf.metadata.get(key);
  if (value === undefined || typeof value === type) return value as GgufScalar | undefined;
  throw new ModelError(`${gguf.file}: metadata ${key} should be a ${type}`);
}

/** Returns a metadata number that must be there. */
export function requireGgufNumber(gguf: GgufFile, key: string): number {
  const value = ggufMeta(gguf, key, 'number');
  if (value === undefined) throw new ModelError(`${gguf.file}: metadata ${key} is missing`);
  return value;
}

/** Returns an array of strings or of numbers, or undefined when absent. */
export function ggufArray(gguf: GgufFile, key: string, type: 'string'): string[] | undefined;
export function ggufArray(gguf: GgufFile, key: string, type: 'number'): number[] | undefined;
export function ggufArray(
  gguf: GgufFile,
  key: string,
  type: 'string' | 'number',
): (string | number)[] | undefined {
  const value = gguf.metadata.get(key);
  if (value === undefined) return undefined;
  if (Array.isArray(value) && value.every((element) => typeof element === type))
    return value as (string | number)[];
  throw new ModelError(`${gguf.file}: metadata ${key} should be an array of ${type}s`);
}
