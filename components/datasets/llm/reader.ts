/** Reads packs by number: positioned reads of just the records asked for, from a folder or an object store. */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { type PackIndex, packIndexSchema } from '../../../contracts/index.js';
import { sha256 } from '../../../shared/digest.js';
import { DataError } from '../../../shared/errors.js';
import { decodePack, recordWords } from './pack_file.js';
import type { Pack } from './packing.js';

export interface NumberedPack extends Pack {
  /** The pack's number, which keys its randomness. */
  number: number;
}

/** Where packs lie. `shared/storage`'s Storage is one. */
export interface PackFolder {
  readonly uri: string;
  read(key: string): Promise<Buffer>;
  readRange(key: string, start: number, end: number): Promise<Buffer>;
}

/** A local folder, with its shards held open. */
export class LocalPackFolder implements PackFolder {
  private readonly handles = new Map<string, Promise<FileHandle>>();

  constructor(readonly uri: string) {}

  read(key: string): Promise<Buffer> {
    return readFile(path.join(this.uri, key));
  }

  async readRange(key: string, start: number, end: number): Promise<Buffer> {
    let handle = this.handles.get(key);
    if (handle === undefined) {
      handle = open(path.join(this.uri, key), 'r');
      this.handles.set(key, handle);
    }
    const buffer = Buffer.alloc(end - start);
    const { bytesRead } = await (await handle).read(buffer, 0, buffer.length, start);
    return buffer.subarray(0, bytesRead);
  }

  async close(): Promise<void> {
    for (const handle of this.handles.values())
      await handle.then((file) => file.close()).catch(() => undefined);
    this.handles.clear();
  }
}

/**
 * @example
 * const reader = await PackReader.open('/cache/packs/<digest>');
 * const packs = await reader.read([4, 17]);
 */
export class PackReader {
  private constructor(
    readonly index: PackIndex,
    private readonly folder: PackFolder,
  ) {}

  /** Opens a folder by path, or any PackFolder. Throws DataError when its index is absent or not one we know. */
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
    const parsed = packIndexSchema.safeParse(json);
    if (!parsed.success) {
      const issue = parsed.error.issues[0]!;
      throw new DataError(`${name}: ${issue.path.join('.')}: ${issue.message}`);
    }
    return new PackReader(parsed.data, folder);
  }

  get packs(): number {
    return this.index.packs;
  }

  /** Supervised tokens of a step's packs: one over this is the loss's weight. */
  supervisedTokens(numbers: readonly number[]): number {
    return numbers.reduce((sum, number) => sum + (this.index.supervised[number] ?? 0), 0);
  }

  /** Tokens of a step's packs that are not padding. */
  tokens(numbers: readonly number[]): number {
    return numbers.reduce((sum, number) => sum + (this.index.tokens[number] ?? 0), 0);
  }

  /** The packs of these numbers, in this order. */
  read(numbers: readonly number[]): Promise<NumberedPack[]> {
    return Promise.all(numbers.map((number) => this.readOne(number)));
  }

  private async readOne(number: number): Promise<NumberedPack> {
    const size = this.index.packedSequenceSize;
    const shard = this.index.shards.find(
      ({ firstPack, packs }) => number >= firstPack && number < firstPack + packs,
    );
    if (shard === undefined)
      throw new RangeError(`there is no pack ${number}: the index has ${this.index.packs}`);
    const bytes = recordWords(size) * 4;
    const start = (number - shard.firstPack) * bytes;
    const place = `pack ${number} in ${this.folder.uri}/${shard.file}`;
    const buffer = await this.folder.readRange(shard.file, start, start + bytes);
    if (buffer.length !== bytes)
      throw new DataError(`${place} is cut short: delete the folder and prepare the data again`);
    const aligned = new Int32Array(bytes / 4);
    new Uint8Array(aligned.buffer).set(buffer);
    return { ...decodePack(aligned, size, place), number };
  }

  /** Reads every shard and compares its length and sha256 with the index. Throws DataError naming the first that differs. */
  async verify(): Promise<void> {
    for (const shard of this.index.shards) {
      const data = await this.folder.read(shard.file);
      if (data.length !== shard.bytes || sha256(data) !== shard.sha256) {
        throw new DataError(
          `${this.folder.uri}/${shard.file} is not what its index says: delete the folder and prepare again`,
        );
      }
    }
  }

  async close(): Promise<void> {
    if (this.folder instanceof LocalPackFolder) await this.folder.close();
  }
}
