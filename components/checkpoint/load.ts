/** Reads checkpoints: whole tensors streamed into the engine, any rows of any tensor, and the newest one that is sound. */
import type { CheckpointEntry, CommittedTensor, TensorPart } from '../../contracts/index.js';
import { crc32c } from '../../engine/index.js';
import { CheckpointError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/index.js';
import {
  type Damage,
  DamagedCheckpoint,
  findDamage,
  findLengthDamage,
  flipped,
  readSidecars,
} from './damage.js';
import { liveCheckpoints } from './live.js';
import { countRows } from './rank_file.js';

/** Most bytes of one chunk given to a sink. */
const chunkBytes = 4 << 20;
const parallelReads = 4;

/** Takes a chunk of a tensor: `byteOffset` counts from the tensor's first row. The chunk is the sink's to keep. */
export type TensorSink = (name: string, byteOffset: number, chunk: Uint8Array) => void | Promise<void>;

/** Rows of a tensor, and the file that holds them. */
type Part = TensorPart & { file: string };

/** A checkpoint that is present and of the right lengths; its bytes are checked while they are read. */
export class Checkpoint {
  readonly #storage: Storage;
  /** Parts by tensor, in the order of their rows. */
  readonly #parts: ReadonlyMap<string, readonly Part[]>;

  private constructor(
    storage: Storage,
    readonly entry: CheckpointEntry,
    parts: ReadonlyMap<string, readonly Part[]>,
  ) {
    this.#storage = storage;
    this.#parts = parts;
  }

  /** @throws DamagedCheckpoint when a file is missing or has another length, or a sidecar was changed */
  static async open(storage: Storage, entry: CheckpointEntry): Promise<Checkpoint> {
    const damage = await findLengthDamage(storage, entry);
    if (damage.length > 0) throw new DamagedCheckpoint(damage);
    const parts = new Map<string, Part[]>(Object.keys(entry.tensors).map((name) => [name, []]));
    for (const { content, sidecar } of await readSidecars(storage, entry)) {
      for (const [name, part] of Object.entries(sidecar.tensors)) {
        if (part.rows[1] > part.rows[0]) parts.get(name)?.push({ ...part, file: content.file });
      }
    }
    for (const tensorParts of parts.values()) tensorParts.sort((a, b) => a.rows[0] - b.rows[0]);
    return new Checkpoint(storage, entry, parts);
  }

  get tensors(): Readonly<Record<string, CommittedTensor>> {
    return this.entry.tensors;
  }

  /**
   * Streams tensors (all, or those named) into `sink`, a few MiB at a time and several parts at once. Throws
   * DamagedCheckpoint naming file, tensor and block when bytes were flipped: what the sink got so far must then be dropped.
   */
  async stream(sink: TensorSink, names: Iterable<string> = Object.keys(this.tensors)): Promise<void> {
    const parts = [...names].flatMap((name) => this.#partsOf(name).map((part) => ({ name, part })));
    const queue = parts[Symbol.iterator]();
    let failed = false;
    const reader = async (): Promise<void> => {
      for (const { name, part } of queue) {
        if (failed) return;
        let byteOffset = part.rows[0] * this.#rowBytes(name);
        for await (const chunk of this.#readPart(name, part)) {
          await sink(name, byteOffset, chunk);
          byteOffset += chunk.length;
        }
      }
    };
    const readers = Array.from({ length: parallelReads }, () =>
      reader().catch((error: unknown) => {
        failed = true;
        throw error;
      }),
    );
    // Nobody may still be writing to the sink when this returns.
    for (const outcome of await Promise.allSettled(readers)) {
      if (outcome.status === 'rejected') throw outcome.reason;
    }
  }

  /**
   * Yields the bytes of a tensor in order, a few MiB at a time.
   * @throws DamagedCheckpoint, at the latest after its last chunk
   */
  async *chunks(name: string): AsyncGenerator<Buffer> {
    for (const part of this.#partsOf(name)) yield* this.#readPart(name, part);
  }

  /**
   * Returns the rows [from, to) of a tensor, by byte ranges from however many files hold them. Every block that is read
   * is checked.
   */
  async readRows(name: string, from: number, to: number): Promise<Buffer> {
    const parts = this.#partsOf(name);
    const { rows } = countRows(this.tensors[name]!);
    if (from < 0 || to < from || to > rows) {
      throw new CheckpointError(
        `commit ${this.entry.sequence}: tensor '${name}' has no rows ${from} to ${to}; it has ${rows}`,
      );
    }
    const rowBytes = this.#rowBytes(name);
    const pieces = parts.map(async (part): Promise<Buffer> => {
      const first = Math.max(from, part.rows[0]) - part.rows[0];
      const last = Math.min(to, part.rows[1]) - part.rows[0];
      if (last <= first) return Buffer.alloc(0);
      const firstBlock = Math.floor(first / part.blockRows);
      const blocks = await this.#readBlocks(name, part, firstBlock, Math.ceil(last / part.blockRows));
      const start = (first - firstBlock * part.blockRows) * rowBytes;
      return blocks.subarray(start, start + (last - first) * rowBytes);
    });
    return Buffer.concat(await Promise.all(pieces));
  }

  /**
   * Yields the bytes of a part, whole blocks at a time; a block longer than a chunk comes in several, and is checked
   * after its last.
   */
  async *#readPart(name: string, part: Part): AsyncGenerator<Buffer> {
    const blockBytes = part.blockRows * this.#rowBytes(name);
    if (blockBytes > chunkBytes) {
      for (let block = 0; block < part.blocks.length; block += 1)
        yield* this.#readLongBlock(name, part, block);
      return;
    }
    const perChunk = Math.floor(chunkBytes / blockBytes);
    for (let block = 0; block < part.blocks.length; block += perChunk) {
      yield await this.#readBlocks(name, part, block, Math.min(block + perChunk, part.blocks.length));
    }
  }

  async *#readLongBlock(name: string, part: Part, block: number): AsyncGenerator<Buffer> {
    const [start, end] = this.#blockRange(name, part, block);
    let checksum = 0;
    for (let position = start; position < end; position += chunkBytes) {
      const chunk = await this.#storage.readRange(part.file, position, Math.min(end, position + chunkBytes));
      checksum = crc32c(chunk, checksum);
      yield chunk;
    }
    this.#checkBlock(name, part, block, checksum);
  }

  async #readBlocks(name: string, part: Part, from: number, to: number): Promise<Buffer> {
    const [start] = this.#blockRange(name, part, from);
    const [, end] = this.#blockRange(name, part, to - 1);
    const bytes = await this.#storage.readRange(part.file, start, end);
    for (let block = from; block < to; block += 1) {
      const [blockStart, blockEnd] = this.#blockRange(name, part, block);
      this.#checkBlock(name, part, block, crc32c(bytes.subarray(blockStart - start, blockEnd - start)));
    }
    return bytes;
  }

  /** Returns the byte range of a block in its file. */
  #blockRange(name: string, { start, end, blockRows }: Part, block: number): [number, number] {
    const length = blockRows * this.#rowBytes(name);
    return [start + block * length, Math.min(end, start + (block + 1) * length)];
  }

  #checkBlock(tensor: string, { file, blocks }: Part, block: number, checksum: number): void {
    if (checksum === blocks[block]) return;
    const problem = flipped(checksum, blocks[block]!);
    const { sequence } = this.entry;
    throw new DamagedCheckpoint([{ sequence, file: `${this.#storage.uri}/${file}`, tensor, block, problem }]);
  }

  #rowBytes(name: string): number {
    return countRows(this.tensors[name]!).rowBytes;
  }

  #partsOf(name: string): readonly Part[] {
    const parts = this.#parts.get(name);
    if (parts === undefined)
      throw new CheckpointError(`commit ${this.entry.sequence}: holds no tensor '${name}'`);
    return parts;
  }
}

/**
 * Opens the checkpoint of a commit.
 * @throws DamagedCheckpoint
 */
export function openCheckpoint(storage: Storage, entry: CheckpointEntry): Promise<Checkpoint> {
  return Checkpoint.open(storage, entry);
}

export interface SoundCheckpoint {
  /** The checkpoint; null when the run has no sound one. */
  entry: CheckpointEntry | null;
  /** Damage found on the way to it, newest first. */
  damage: Damage[];
}

/**
 * Returns the newest checkpoint whose every byte is as it was committed, and what is wrong with the newer ones. A
 * resuming generation calls this after it was taken, so that nobody deletes what it reads.
 */
export async function newestSound(storage: Storage): Promise<SoundCheckpoint> {
  return walk(storage, async (entry) => {
    const damage = await findDamage(storage, entry);
    if (damage.length > 0) throw new DamagedCheckpoint(damage);
  });
}

/**
 * Loads the newest sound checkpoint in one pass: `load` gets each candidate, newest first, until one does not throw
 * DamagedCheckpoint. What a damaged one has written into the engine is overwritten by the next; when `entry` comes back
 * null, the caller initializes every tensor itself.
 */
export async function loadNewestSound(
  storage: Storage,
  load: (checkpoint: Checkpoint) => Promise<void>,
): Promise<SoundCheckpoint> {
  return walk(storage, async (entry) => load(await openCheckpoint(storage, entry)));
}

async function walk(
  storage: Storage,
  accept: (entry: CheckpointEntry) => Promise<void>,
): Promise<SoundCheckpoint> {
  const damage: Damage[] = [];
  for await (const checkpoint of liveCheckpoints(storage)) {
    if (checkpoint.entry === null) {
      damage.push(checkpoint.damage);
      continue;
    }
    try {
      await accept(checkpoint.entry);
      return { entry: checkpoint.entry, damage };
    } catch (error) {
      if (!(error instanceof DamagedCheckpoint)) throw error;
      damage.push(...error.damage);
    }
  }
  return { entry: null, damage };
}
