/** Damage that a checkpoint's files may have, and the search for it. */
import type { CheckpointEntry, CommittedFile, Sidecar } from '../../contracts/index.js';
import { crc32c } from '../../engine/index.js';
import { CheckpointError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/index.js';
import { countRows, readSidecar, sidecarKey } from './rank_file.js';

export interface Damage {
  /** Sequence number of the commit. */
  sequence: number;
  /** Full location. */
  file: string;
  /** The tensor hit, and which block of its rows in the file, from 0, where they are known. */
  tensor: string | null;
  block: number | null;
  problem: string;
}

/** A checkpoint whose files are not what its commit says. */
export class DamagedCheckpoint extends CheckpointError {
  readonly damage: readonly Damage[];

  constructor(damage: readonly Damage[]) {
    super(damage.map(describeDamage).join('\n'));
    this.damage = damage;
  }
}

/** Returns one line, to be shown to a person. */
export function describeDamage({ sequence, file, tensor, block, problem }: Damage): string {
  const inFile = tensor === null ? file : `${file}: tensor '${tensor}'`;
  return `${block === null ? inFile : `${inFile}, block ${block}`}: ${problem} (commit ${sequence})`;
}

/**
 * Returns the damage of a checkpoint's files that are missing or of another length: reads none. Empty when all is well.
 */
export async function findLengthDamage(storage: Storage, entry: CheckpointEntry): Promise<Damage[]> {
  const perFile = await Promise.all(
    entry.files.map(async ({ file: key, bytes }): Promise<Damage | null> => {
      const size = await storage.size(key);
      if (size === bytes) return null;
      const problem =
        size === null
          ? 'the file is missing'
          : `the file has ${size} bytes instead of ${bytes}${size < bytes ? ': truncated' : ''}`;
      return inFile(storage, entry, key, problem);
    }),
  );
  return perFile.filter((damage) => damage !== null);
}

/**
 * Reads the sidecars of a checkpoint's files.
 * @throws DamagedCheckpoint when one is missing or was changed
 */
export async function readSidecars(
  storage: Storage,
  entry: CheckpointEntry,
): Promise<{ content: CommittedFile; sidecar: Sidecar }[]> {
  const damage: Damage[] = [];
  const sidecars = await Promise.all(
    entry.files.map(async (content) => {
      const sidecar = await readSidecar(storage, content);
      if (typeof sidecar !== 'string') return { content, sidecar };
      damage.push(inFile(storage, entry, sidecarKey(content.file), sidecar));
      return null;
    }),
  );
  if (damage.length > 0) throw new DamagedCheckpoint(damage);
  return sidecars.filter((file) => file !== null);
}

/** Reads every file of a checkpoint against its checksums. Empty when it is sound. */
export async function findDamage(storage: Storage, entry: CheckpointEntry): Promise<Damage[]> {
  const damage = await findLengthDamage(storage, entry);
  if (damage.length > 0) return damage;
  try {
    for (const { content, sidecar } of await readSidecars(storage, entry)) {
      damage.push(...(await findFlipped(storage, entry, content, sidecar)));
    }
  } catch (error) {
    if (!(error instanceof DamagedCheckpoint)) throw error;
    return [...error.damage];
  }
  return damage;
}

function inFile(storage: Storage, { sequence }: CheckpointEntry, key: string, problem: string): Damage {
  return { sequence, file: `${storage.uri}/${key}`, tensor: null, block: null, problem };
}

/** A block of a file: its byte range and checksum. */
interface Block {
  tensor: string;
  block: number;
  start: number;
  end: number;
  crc32c: number;
}

async function findFlipped(
  storage: Storage,
  entry: CheckpointEntry,
  { file, bytes, crc32c: declared }: CommittedFile,
  sidecar: Sidecar,
): Promise<Damage[]> {
  const blocks = listBlocks(entry, sidecar);
  const damage: Damage[] = [];
  let fileChecksum = 0;
  let position = 0;
  let next = 0;
  let checksum = 0;
  for await (const chunk of storage.readStream(file, 0, bytes)) {
    const data = chunk as Buffer;
    fileChecksum = crc32c(data, fileChecksum);
    for (let done = 0; done < data.length; ) {
      const current = blocks[next];
      if (current === undefined) break;
      const from = Math.max(done, current.start - position);
      const to = Math.min(data.length, current.end - position);
      if (to > from) checksum = crc32c(data.subarray(from, to), checksum);
      done = Math.max(done, to);
      if (position + done < current.end) break;
      if (checksum !== current.crc32c) {
        const { tensor, block } = current;
        damage.push({ ...inFile(storage, entry, file, flipped(checksum, current.crc32c)), tensor, block });
      }
      next += 1;
      checksum = 0;
    }
    position += data.length;
  }
  if (damage.length === 0 && fileChecksum !== declared) {
    damage.push(inFile(storage, entry, file, `its header is damaged: ${flipped(fileChecksum, declared)}`));
  }
  return damage;
}

/** Returns the blocks of a file, in the order of their bytes. */
function listBlocks(entry: CheckpointEntry, sidecar: Sidecar): Block[] {
  return Object.entries(sidecar.tensors)
    .flatMap(([tensor, { start, end, blockRows, blocks }]) => {
      const { rowBytes } = countRows(entry.tensors[tensor]!);
      const length = blockRows * rowBytes;
      return blocks.map((checksum, block) => ({
        tensor,
        block,
        start: start + block * length,
        end: Math.min(end, start + (block + 1) * length),
        crc32c: checksum,
      }));
    })
    .sort((a, b) => a.start - b.start);
}

/** Says how a checksum differs. */
export function flipped(actual: number, expected: number): string {
  const hex = (value: number) => value.toString(16).padStart(8, '0');
  return `its bytes have CRC-32C ${hex(actual)} instead of ${hex(expected)}`;
}
