/** What can be wrong with a checkpoint's files, and the search for it. */
import type { CheckpointEntry, TensorPart } from '../../contracts/index.js';
import { crc32c } from '../../engine/index.js';
import { CheckpointError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/index.js';

export interface Damage {
  /** Sequence number of the commit. */
  sequence: number;
  /** Full location. */
  file: string;
  /** The tensor hit, where it is known. */
  tensor: string | null;
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

/** One line, to be shown to a person. */
export function describeDamage({ sequence, file, tensor, problem }: Damage): string {
  const where = tensor === null ? file : `${file}: tensor '${tensor}'`;
  return `${where}: ${problem} (commit ${sequence})`;
}

/** Files of a checkpoint that are missing or of another length: needs no reading. Empty when all is well. */
export async function findLengthDamage(run: Storage, entry: CheckpointEntry): Promise<Damage[]> {
  const found = await Promise.all(
    Object.entries(entry.files).map(async ([key, { bytes }]): Promise<Damage | null> => {
      const size = await run.size(key);
      if (size === bytes) return null;
      const problem =
        size === null
          ? 'the file is missing'
          : `the file has ${size} bytes instead of ${bytes}${size < bytes ? ': truncated' : ''}`;
      return { sequence: entry.sequence, file: `${run.uri}/${key}`, tensor: null, problem };
    }),
  );
  return found.filter((damage) => damage !== null);
}

/** Reads every file of a checkpoint against its checksums. Empty when it is sound. */
export async function findDamage(run: Storage, entry: CheckpointEntry): Promise<Damage[]> {
  const found = await findLengthDamage(run, entry);
  const broken = new Set(found.map(({ file }) => file));
  for (const key of Object.keys(entry.files)) {
    if (!broken.has(`${run.uri}/${key}`)) found.push(...(await findFlipped(run, entry, key)));
  }
  return found;
}

/** A segment of a file with a checksum of its own; `tensor` null is the header. */
interface Segment {
  tensor: string | null;
  part: TensorPart;
}

async function findFlipped(run: Storage, entry: CheckpointEntry, key: string): Promise<Damage[]> {
  const segments = segmentsOf(entry, key);
  const { bytes, crc32c: declared } = entry.files[key]!;
  const place = { sequence: entry.sequence, file: `${run.uri}/${key}` };
  const found: Damage[] = [];
  let whole = 0;
  let at = 0;
  let segment = 0;
  let checksum = 0;
  for await (const chunk of run.readStream(key, 0, bytes)) {
    const data = chunk as Buffer;
    whole = crc32c(data, whole);
    for (let done = 0; done < data.length; ) {
      const current = segments[segment];
      if (current === undefined) break;
      const { start, end, crc32c: expected } = current.part;
      const from = Math.max(done, start - at);
      const to = Math.min(data.length, end - at);
      if (to > from) checksum = crc32c(data.subarray(from, to), checksum);
      done = Math.max(done, Math.min(data.length, end - at));
      if (at + done < end) break;
      if (checksum !== expected)
        found.push({ ...place, tensor: current.tensor, problem: flipped(checksum, expected) });
      segment += 1;
      checksum = 0;
    }
    at += data.length;
  }
  if (found.length === 0 && whole !== declared) {
    found.push({ ...place, tensor: null, problem: `its header is damaged: ${flipped(whole, declared)}` });
  }
  return found;
}

/** The parts of tensors that lie in a file, in the order of their bytes. */
function segmentsOf(entry: CheckpointEntry, key: string): Segment[] {
  return Object.entries(entry.tensors)
    .flatMap(([tensor, { parts }]) => parts.map((part) => ({ tensor, part })))
    .filter(({ part }) => part.file === key)
    .sort((a, b) => a.part.start - b.part.start);
}

/** Says how a checksum differs. */
export function flipped(actual: number, expected: number): string {
  const hex = (value: number) => value.toString(16).padStart(8, '0');
  return `its bytes have CRC-32C ${hex(actual)} instead of ${hex(expected)}`;
}
