/**
 * Packs on disk. A pack file is a row of records of one size, little-endian int32, so that pack n is found by
 * arithmetic and a file can be memory-mapped:
 *
 *     tokens, documents, supervised, crc32  header; the checksum is of the rest of the record
 *     ids      [S]
 *     labels   [S]                          aligned with ids, −100 where not trained on
 *     starts   [⌈S/32⌉]                     bit t: a document starts at token t
 */
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import type { PackIndex } from '../../../../contracts/index.js';
import { DataError } from '../../../../shared/errors.js';
import type { Pack } from './packing.js';

const headerWords = 4;
/** Word of the header that holds the checksum. */
const checksumWord = 3;
const maxFileBytes = 64 << 20;

/** Returns the number of int32 words of one pack's record. */
export const recordWords = (size: number): number => headerWords + 2 * size + Math.ceil(size / 32);

export function encodePack(pack: Pack, size: number): Int32Array {
  const record = new Int32Array(recordWords(size));
  record.set([pack.tokens, pack.starts.length, pack.supervised, 0]);
  record.set(pack.ids, headerWords);
  record.set(pack.labels, headerWords + size);
  const starts = headerWords + 2 * size;
  for (const start of pack.starts) record[starts + (start >> 5)]! |= 1 << (start & 31);
  record[checksumWord] = checksum(record);
  return record;
}

function checksum(record: Int32Array): number {
  const bytes = new Uint8Array(record.buffer, record.byteOffset, record.byteLength);
  return crc32(bytes.subarray((checksumWord + 1) * 4), crc32(bytes.subarray(0, checksumWord * 4))) | 0;
}

/**
 * Returns the pack of a record.
 * @throws DataError naming `location` when a bit of it has changed
 */
export function decodePack(record: Int32Array, size: number, location: string): Pack {
  const damaged = () => new DataError(`${location} is damaged: delete the folder and prepare the data again`);
  if (record[checksumWord] !== checksum(record)) throw damaged();
  const [tokens, documents, supervised] = record as unknown as [number, number, number];
  const ids = record.subarray(headerWords, headerWords + size);
  const labels = record.subarray(headerWords + size, headerWords + 2 * size);
  const bits = record.subarray(headerWords + 2 * size);
  const starts: number[] = [];
  for (let word = 0; word < bits.length; word += 1) {
    for (let rest = bits[word]! >>> 0; rest !== 0; rest = (rest & (rest - 1)) >>> 0) {
      starts.push(word * 32 + (31 - Math.clz32(rest & -rest)));
    }
  }
  if (
    tokens < 1 ||
    tokens > size ||
    starts.length !== documents ||
    starts[0] !== 0 ||
    starts.at(-1)! >= tokens
  ) {
    throw damaged();
  }
  return { ids, labels, starts, tokens, supervised };
}

type PackFile = PackIndex['shards'][number];

/** Writes packs in order to `shard-00000.packs`, `shard-00001.packs` … of a folder, each synced when it is full. */
export class PackWriter {
  readonly files: PackFile[] = [];
  readonly supervised: number[] = [];
  readonly tokens: number[] = [];
  readonly #packsPerFile: number;
  #file: FileHandle | null = null;
  #buffered: Uint8Array[] = [];
  #bufferedBytes = 0;
  readonly #folder: string;
  readonly #size: number;

  constructor(folder: string, size: number) {
    this.#folder = folder;
    this.#size = size;
    this.#packsPerFile = Math.max(1, Math.floor(maxFileBytes / (recordWords(size) * 4)));
  }

  async add(pack: Pack): Promise<void> {
    if (this.tokens.length % this.#packsPerFile === 0) await this.#openNextFile();
    const file = this.files.at(-1)!;
    const record = encodePack(pack, this.#size);
    const bytes = new Uint8Array(record.buffer);
    this.#buffered.push(bytes);
    this.#bufferedBytes += bytes.length;
    file.bytes += bytes.length;
    file.packs += 1;
    this.supervised.push(pack.supervised);
    this.tokens.push(pack.tokens);
    if (this.#bufferedBytes >= 1 << 20) await this.#flush();
  }

  async close(): Promise<void> {
    if (this.#file === null) return;
    await this.#flush();
    await this.#file.sync();
    await this.#file.close();
    this.#file = null;
  }

  async #openNextFile(): Promise<void> {
    await this.close();
    const file = `shard-${String(this.files.length).padStart(5, '0')}.packs`;
    this.#file = await open(path.join(this.#folder, file), 'w');
    this.files.push({ file, bytes: 0, firstPack: this.tokens.length, packs: 0 });
  }

  async #flush(): Promise<void> {
    await this.#file!.writev(this.#buffered);
    this.#buffered = [];
    this.#bufferedBytes = 0;
  }
}
