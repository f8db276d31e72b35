import type { CheckpointEntry } from '../../contracts/index.js';
import type { Storage } from '../../shared/storage/index.js';
import { type LoggedEntry, readEntry, readLog } from './commit_log.js';
import type { Damage } from './damage.js';

/** A checkpoint that has not been retired, or an entry that may have been one and cannot be read. */
export type LiveCheckpoint =
  | { sequence: number; entry: CheckpointEntry; damage: null }
  | { sequence: number; entry: null; damage: Damage };

/**
 * Yields the checkpoints that may be loaded, newest first. The newest retirement says which older ones are left, so the
 * walk ends there and costs the same however long the log is.
 */
export async function* liveCheckpoints(storage: Storage): AsyncGenerator<LiveCheckpoint> {
  for await (const logged of readLog(storage)) {
    if (logged.entry?.kind === 'retirement') {
      for (const sequence of [...logged.entry.keep].sort((a, b) => b - a)) {
        const checkpoint = asCheckpoint(await readEntry(storage, sequence));
        if (checkpoint !== null) yield checkpoint;
      }
      return;
    }
    const live = asCheckpoint(logged);
    if (live !== null) yield live;
  }
}

function asCheckpoint(logged: LoggedEntry): LiveCheckpoint | null {
  const { sequence, file, entry } = logged;
  if (entry === null) {
    const damage = { sequence, file, tensor: null, block: null, problem: logged.damage };
    return { sequence, entry, damage };
  }
  if (entry.kind !== 'checkpoint') return null;
  return { sequence, entry, damage: null };
}

/**
 * Yields the checkpoints that led to one, newest first: its own and those of its generation before it, then the one
 * they resumed from.
 */
export async function* walkLineage(
  storage: Storage,
  newest: CheckpointEntry,
): AsyncGenerator<CheckpointEntry> {
  for (let entry: CheckpointEntry | null = newest; entry !== null; ) {
    yield entry;
    entry = (await findEarlier(storage, entry)) ?? (await findOrigin(storage, entry));
  }
}

/** Returns the checkpoint before this one in the same generation. */
async function findEarlier(
  storage: Storage,
  { sequence, generation }: CheckpointEntry,
): Promise<CheckpointEntry | null> {
  for (let earlier = sequence - 1; earlier >= 1; earlier -= 1) {
    const { entry } = await readEntry(storage, earlier);
    if (entry === null) continue;
    if (entry.generation < generation || entry.kind === 'generation') return null;
    if (entry.kind === 'checkpoint') return entry;
  }
  return null;
}

/** Returns the checkpoint that its generation resumed from. */
async function findOrigin(
  storage: Storage,
  { resumedFrom }: CheckpointEntry,
): Promise<CheckpointEntry | null> {
  if (resumedFrom === null) return null;
  const { entry } = await readEntry(storage, resumedFrom);
  return entry?.kind === 'checkpoint' ? entry : null;
}
