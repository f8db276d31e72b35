/** Reads packs by number: positioned reads of just the records asked for, from a folder or an object store. */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { type PackIndex, packIndexSchema } from '../../../../contracts/index.js';
import { DataError, TemperError } from '../../../../shared/errors.js';
import { ignored } from '../documents/document.js';
import { decodePack, recordWords } from './pack_file.js';
import type { Pack } from './packing.js';

export interface NumberedPack extends Pack {
  /** The pack's number, which keys its randomness. */
  number: number;
}

/** A folder of packs. `shared/storage`'s Storage is one. */
export interface PackFolder {
  readonly uri: string;
  read(key: string): Promise<Buffer>;
  readRange(key: string, start: number, end: number): Promise<Buffer>;
}

/** A local folder, with its pack files held open. */
export class LocalPackFolder implements PackFolder {
  readonly #handles = new Map<string, Promise<FileHandle>>();

  constructor(readonly uri: string) {}

  read(key: string): Promise<Buffer> {
    return readFile(path.join(this.uri, key));
  }

  async readRange(key: string, start: number, end: number): Promise<Buffer> {
    let handle = this.#handles.get(key);
    if (handle === undefined) {
      handle = open(path.join(this.uri, key), 'r');
      this.#handles.set(key, handle);
    }
    const buffer = Buffer.alloc(end - start);
    const { bytesRead } = await (await handle).read(buffer, 0, buffer.length, start);
    return buffer.subarray(0, bytesRead);
  }

  async close(): Promise<void> {
    for (const handle of this.#handles.values())
      await handle.then((file) => file.close()).catch(() => undefined);
    this.#handles.clear();
  }
}

/**
 * @example
 * const reader = await PackReader.open('/cache/packs/<digest>');
 * const packs = await reader.read([4, 17]);
 */
export class PackReader {
  readonly #folder: PackFolder;

  private constructor(
    readonly index: PackIndex,
    folder: PackFolder,
  ) {
    this.#folder = folder;
  }

  /**
   * Opens a folder by path, or any PackFolder.
   * @throws DataError when its index is absent or not one we know
   */
  static async open(where: string | PackFolder): Promise<PackReader> {
    const folder = typeof where === 'string' ? new LocalPackFolder(where) : where;
    const name = `${folder.uri}/index.json`;
    let text: string;
    try {
      text = (await folder.read('index.json')).toString('utf8');
    } catch (error) {
      throw new DataError(`${name} cannot be read: are these prepared packs?`, { cause: error });
    }
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (error) {
      throw new DataError(`${name} is not JSON: delete the folder and prepare the data again`, {
        cause: error,
      });
    }
    const result = packIndexSchema.safeParse(json);
    if (!result.success) {
      const issue = result.error.issues[0]!;
      throw new DataError(`${name}: ${issue.path.join('.')}: ${issue.message}`);
    }
    const problem = indexProblem(result.data);
    if (problem !== null)
      throw new DataError(`${name}: ${problem}: delete the folder and prepare the data again`);
    return new PackReader(result.data, folder);
  }

  get packs(): number {
    return this.index.packs;
  }

  /** Returns the number of supervised tokens of a step's packs: one over this is the loss's weight. */
  supervisedTokens(numbers: readonly number[]): number {
    return numbers.reduce((sum, number) => sum + (this.index.supervised[number] ?? 0), 0);
  }

  /** Returns the number of tokens of a step's packs that are not padding. */
  tokens(numbers: readonly number[]): number {
    return numbers.reduce((sum, number) => sum + (this.index.tokens[number] ?? 0), 0);
  }

  /**
   * Returns the packs of these numbers, in this order, each verified by its checksum.
   *
   * @throws DataError naming file and pack where either is damaged or missing
   */
  read(numbers: readonly number[]): Promise<NumberedPack[]> {
    return Promise.all(numbers.map((number) => this.#readOne(number)));
  }

  async #readOne(number: number): Promise<NumberedPack> {
    const size = this.index.packedSequenceSize;
    const packFile = this.index.shards.find(
      ({ firstPack, packs }) => number >= firstPack && number < firstPack + packs,
    );
    if (packFile === undefined)
      throw new RangeError(`there is no pack ${number}: the index has ${this.index.packs}`);
    const bytes = recordBytes(size);
    const start = (number - packFile.firstPack) * bytes;
    const location = `pack ${number} in ${this.#folder.uri}/${packFile.file}`;
    const buffer = await this.#folder
      .readRange(packFile.file, start, start + bytes)
      .catch((error: unknown) => {
        throw unreadableFile(`${this.#folder.uri}/${packFile.file}`, error);
      });
    if (buffer.length !== bytes)
      throw new DataError(`${location} is cut short: delete the folder and prepare the data again`);
    const aligned = new Int32Array(bytes / 4);
    new Uint8Array(aligned.buffer).set(buffer);
    const pack = decodePack(aligned, size, location);
    this.#check(pack, number, location);
    return { ...pack, number };
  }

  /**
   * Compares a pack with what the index says of it.
   * @throws DataError
   */
  #check(pack: Pack, number: number, location: string): void {
    const { supervised, tokens, vocabularySize } = this.index;
    if (pack.supervised !== supervised[number] || pack.tokens !== tokens[number])
      throw new DataError(
        `${location} is not what index.json describes: delete the folder and prepare the data again`,
      );
    const limit = vocabularySize ?? 0x7fff_ffff;
    const foreign = foreignId(pack, limit);
    if (foreign === null) return;
    throw new DataError(
      `${location} has the id ${foreign}, and the vocabulary has ${limit} entries: delete the folder and prepare the data again`,
    );
  }

  async close(): Promise<void> {
    if (this.#folder instanceof LocalPackFolder) await this.#folder.close();
  }
}

const recordBytes = (size: number): number => recordWords(size) * 4;

/** Returns the first id or label outside [0, limit); null when all lie within. Each step's packs pass through here. */
function foreignId({ ids, labels }: Pack, limit: number): number | null {
  for (let token = 0; token < ids.length; token += 1) {
    const id = ids[token]!;
    if (id < 0 || id >= limit) return id;
    const label = labels[token]!;
    if (label !== ignored && (label < 0 || label >= limit)) return label;
  }
  return null;
}

/** Returns what of an index contradicts itself; null when nothing does. */
function indexProblem({ packs, packedSequenceSize, shards, supervised, tokens }: PackIndex): string | null {
  let next = 0;
  for (const { file, firstPack, packs: count, bytes } of shards) {
    if (firstPack !== next || bytes !== count * recordBytes(packedSequenceSize))
      return `shards: ${file} cannot have ${bytes} bytes and the packs from ${firstPack} to ${firstPack + count - 1}`;
    if (path.basename(file) !== file) return `shards: ${JSON.stringify(file)} is not a file of this folder`;
    next += count;
  }
  if (next !== packs) return `shards: they have ${next} packs, and 'packs' is ${packs}`;
  if (supervised.length !== packs || tokens.length !== packs)
    return `supervised, tokens: not one entry for each of ${packs} packs`;
  return null;
}

/** Returns the error of a pack file that cannot be read, with what the system says. */
function unreadableFile(file: string, cause: unknown): Error {
  if (cause instanceof TemperError) return cause;
  const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
  const reason = missing ? 'is missing' : `cannot be read: ${(cause as Error).message}`;
  const remedy = missing ? 'delete the folder and prepare the data again' : 'check the disk, and run again';
  return new DataError(`${file} ${reason}: ${remedy}`, { cause });
}
