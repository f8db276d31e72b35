/** Reads checkpoints: whole tensors streamed into the engine, any rows of any tensor, and the newest one that is sound. */
import type { CheckpointEntry, CommittedTensor, TensorPart } from '../../contracts/index.js';
import { crc32c } from '../../engine/index.js';
import { CheckpointError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/index.js';
import { type Damage, DamagedCheckpoint, findDamage, findLengthDamage, flipped } from './damage.js';
import { liveCheckpoints } from './live.js';
import { rowsOf } from './shard.js';

/** Bytes of one chunk given to a sink; every chunk but a part's last has this size. */
const chunkBytes = 4 << 20;
const parallelReads = 4;

/** Takes a chunk of a tensor: `byteOffset` counts from the tensor's first row. The chunk is the sink's to keep. */
export type TensorSink = (name: string, byteOffset: number, chunk: Uint8Array) => void | Promise<void>;

/** A checkpoint that is present and of the right lengths; its bytes are checked while they are read. */
export class Checkpoint {
  private constructor(
    private readonly run: Storage,
    readonly entry: CheckpointEntry,
  ) {}

  /** Throws DamagedCheckpoint when a file is missing or has another length. */
  static async open(run: Storage, entry: CheckpointEntry): Promise<Checkpoint> {
    const damage = await findLengthDamage(run, entry);
    if (damage.length > 0) throw new DamagedCheckpoint(damage);
    return new Checkpoint(run, entry);
  }

  get tensors(): Readonly<Record<string, CommittedTensor>> {
    return this.entry.tensors;
  }

  /**
   * Streams tensors (all, or those named) into `sink`, a few MiB at a time and several parts at once. Throws
   * DamagedCheckpoint naming file and tensor when bytes were flipped: what the sink got so far must then be dropped.
   */
  async stream(sink: TensorSink, names: Iterable<string> = Object.keys(this.tensors)): Promise<void> {
    const parts = [...names].flatMap((name) => {
      const tensor = this.tensor(name);
      return tensor.parts.map((part) => ({ name, tensor, part }));
    });
    const queue = parts[Symbol.iterator]();
    let failed = false;
    const reader = async (): Promise<void> => {
      for (const { name, tensor, part } of queue) {
        if (failed) return;
        await this.streamPart(sink, name, tensor, part);
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

  private async streamPart(
    sink: TensorSink,
    name: string,
    tensor: CommittedTensor,
    part: TensorPart,
  ): Promise<void> {
    const base = part.rows[0] * rowsOf(tensor).rowBytes;
    let checksum = 0;
    for (let at = part.start; at < part.end; at += chunkBytes) {
      const chunk = await this.run.readRange(part.file, at, Math.min(part.end, at + chunkBytes));
      checksum = crc32c(chunk, checksum);
      await sink(name, base + at - part.start, chunk);
    }
    if (checksum !== part.crc32c) throw new DamagedCheckpoint([this.damage(name, part, checksum)]);
  }

  /**
   * Rows [from, to) of a tensor, by byte ranges from however many files hold them. A part that is read whole is checked
   * against its checksum; `findDamage` checks the others.
   */
  async readRows(name: string, from: number, to: number): Promise<Buffer> {
    const tensor = this.tensor(name);
    const { rows, rowBytes } = rowsOf(tensor);
    if (from < 0 || to < from || to > rows) {
      throw new CheckpointError(
        `commit ${this.entry.sequence}: tensor '${name}' has no rows ${from} to ${to}; it has ${rows}`,
      );
    }
    const pieces = tensor.parts.map(async (part): Promise<Buffer> => {
      const first = Math.max(from, part.rows[0]);
      const last = Math.min(to, part.rows[1]);
      if (last <= first) return Buffer.alloc(0);
      const start = part.start + (first - part.rows[0]) * rowBytes;
      const piece = await this.run.readRange(part.file, start, start + (last - first) * rowBytes);
      if (piece.length === part.end - part.start && crc32c(piece) !== part.crc32c) {
        throw new DamagedCheckpoint([this.damage(name, part, crc32c(piece))]);
      }
      return piece;
    });
    return Buffer.concat(await Promise.all(pieces));
  }

  private tensor(name: string): CommittedTensor {
    const tensor = Object.hasOwn(this.tensors, name) ? this.tensors[name] : undefined;
    if (tensor === undefined)
      throw new CheckpointError(`commit ${this.entry.sequence}: holds no tensor '${name}'`);
    return tensor;
  }

  private damage(tensor: string, part: TensorPart, checksum: number): Damage {
    const { sequence } = this.entry;
    return {
      sequence,
      file: `${this.run.uri}/${part.file}`,
      tensor,
      problem: flipped(checksum, part.crc32c),
    };
  }
}

/** Opens the checkpoint of a commit. Throws DamagedCheckpoint. */
export function openCheckpoint(run: Storage, entry: CheckpointEntry): Promise<Checkpoint> {
  return Checkpoint.open(run, entry);
}

export interface SoundCheckpoint {
  /** Null when the run has no sound checkpoint. */
  entry: CheckpointEntry | null;
  /** What was found damaged on the way to it, newest first. */
  damage: Damage[];
}

/**
 * The newest checkpoint whose every byte is as it was committed, and what is wrong with the newer ones. A resuming
 * generation calls this after it was taken, so that nobody deletes what it reads.
 */
export async function newestSound(run: Storage): Promise<SoundCheckpoint> {
  return walk(run, async (entry) => {
    const damage = await findDamage(run, entry);
    if (damage.length > 0) throw new DamagedCheckpoint(damage);
  });
}

/**
 * Loads the newest sound checkpoint in one pass: `load` gets each candidate, newest first, until one does not throw
 * DamagedCheckpoint. What a damaged one has written into the engine is overwritten by the next; when `entry` comes back
 * null, the caller initialises every tensor itself.
 */
export async function loadNewestSound(
  run: Storage,
  load: (checkpoint: Checkpoint) => Promise<void>,
): Promise<SoundCheckpoint> {
  return walk(run, async (entry) => load(await openCheckpoint(run, entry)));
}

async function walk(
  run: Storage,
  accept: (entry: CheckpointEntry) => Promise<void>,
): Promise<SoundCheckpoint> {
  const damage: Damage[] = [];
  for await (const found of liveCheckpoints(run)) {
    if (found.entry === null) {
      damage.push({ sequence: found.sequence, file: found.file, tensor: null, problem: found.damage });
      continue;
    }
    try {
      await accept(found.entry);
      return { entry: found.entry, damage };
    } catch (error) {
      if (!(error instanceof DamagedCheckpoint)) throw error;
      damage.push(...error.damage);
    }
  }
  return { entry: null, damage };
}
