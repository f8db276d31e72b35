/**
 * The commit log of a run: `<run>/commits/00000001.json` and so on, each created exclusively and never changed. The log
 * is the only truth about who holds the run and what it has saved.
 *
 * Fencing. An append reads the newest entry, and creates the next number. Of two processes that try, one wins; the other
 * reads again. Nobody appends after an entry of another generation than their own, so whoever takes a generation has
 * fenced all older ones with that very entry. A number that cannot be read may have taken a generation too: it is never
 * used again, nobody appends behind it with an older generation, and the next generation skips the one it may have taken.
 */
import { randomUUID } from 'node:crypto';
import {
  type CheckpointEntry,
  type CommitEntry,
  commitFileSchema,
  type GenerationEntry,
  type RetirementEntry,
} from '../../contracts/index.js';
import { crc32c } from '../../engine/index.js';
import { CheckpointError, FencedError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/storage.js';

/** An entry as it was found: sound, or with what is wrong with it. */
export type LoggedEntry =
  | { sequence: number; file: string; entry: CommitEntry; damage: null }
  | { sequence: number; file: string; entry: null; damage: string };

/** What a writer decides of an entry; the log adds version, number, id and time. */
type Draft<E extends CommitEntry> = Omit<E, 'version' | 'sequence' | 'id' | 'at'>;
export type CheckpointDraft = Draft<CheckpointEntry>;
export type RetirementDraft = Draft<RetirementEntry>;

const folder = 'commits/';

/** Key of an entry, relative to the run. */
export function commitKey(sequence: number): string {
  return `${folder}${String(sequence).padStart(8, '0')}.json`;
}

/**
 * Takes the next generation of a run for `holder` (`<pool>.<host>.<incarnation>`), which fences every older one.
 * `run` is the storage of the run's folder.
 */
export async function takeGeneration(
  run: Storage,
  { holder, worldSize }: { holder: string; worldSize: number },
): Promise<GenerationEntry> {
  for (;;) {
    const tip = await readTip(run);
    const draft = { kind: 'generation' as const, generation: tip.nextGeneration, holder, worldSize };
    const taken = await create<GenerationEntry>(run, tip.sequence + 1, draft, randomUUID());
    if (taken !== null) return taken;
  }
}

/**
 * Appends a checkpoint. Throws FencedError when a newer generation holds the run. A caller who wants to know after
 * another error whether the entry stands looks for `id`.
 */
export function appendCheckpoint(
  run: Storage,
  draft: CheckpointDraft,
  id: string = randomUUID(),
): Promise<CheckpointEntry> {
  return append<CheckpointEntry>(run, draft, id);
}

/** Appends a retirement. Throws FencedError when a newer generation holds the run. */
export function appendRetirement(run: Storage, draft: RetirementDraft): Promise<RetirementEntry> {
  return append<RetirementEntry>(run, draft, randomUUID());
}

async function append<E extends CheckpointEntry | RetirementEntry>(
  run: Storage,
  draft: Draft<E>,
  id: string,
): Promise<E> {
  for (;;) {
    const tip = await readTip(run);
    requireHeld(run, tip, draft.generation);
    const appended = await create<E>(run, tip.sequence + 1, draft, id);
    if (appended !== null) return appended;
  }
}

/** Throws FencedError unless `generation` still holds the run. The answer may be out of date as soon as it is given. */
export async function requireGeneration(run: Storage, generation: number): Promise<void> {
  requireHeld(run, await readTip(run), generation);
}

function requireHeld(run: Storage, tip: Tip, generation: number): void {
  if (tip.newest !== null && tip.newest.generation > generation) {
    throw new FencedError(
      `${run.uri}: generation ${tip.newest.generation} has taken over this run; generation ${generation} may not commit to it any more`,
    );
  }
  const damaged = tip.damaged[0];
  if (damaged !== undefined) {
    throw new FencedError(
      `${damaged.file}: ${damaged.damage}; it may have taken a newer generation, so that generation ${generation} may not commit any more. Take a new generation to go on`,
    );
  }
  if (tip.newest === null || tip.newest.generation < generation) {
    throw new CheckpointError(`${run.uri}: generation ${generation} was never taken in its commit log`);
  }
}

interface Tip {
  /** Highest number in use; 0 in an empty log. */
  sequence: number;
  /** Newest entry that can be read. */
  newest: CommitEntry | null;
  /** Entries after it that cannot be read, newest first. */
  damaged: LoggedEntry[];
  /** Above every generation that any entry may have taken. */
  nextGeneration: number;
}

async function readTip(run: Storage): Promise<Tip> {
  const damaged: LoggedEntry[] = [];
  let sequence = 0;
  for await (const logged of readLog(run)) {
    sequence = Math.max(sequence, logged.sequence);
    if (logged.entry !== null) {
      // Each entry that cannot be read may have taken one generation.
      const nextGeneration = logged.entry.generation + damaged.length + 1;
      return { sequence, newest: logged.entry, damaged, nextGeneration };
    }
    damaged.push(logged);
  }
  return { sequence, newest: null, damaged, nextGeneration: damaged.length + 1 };
}

/** The log from its newest entry to its oldest. A number without a file is a damaged entry. */
export async function* readLog(run: Storage): AsyncGenerator<LoggedEntry> {
  for (let sequence = await highestSequence(run); sequence >= 1; sequence -= 1) {
    yield await readEntry(run, sequence);
  }
}

async function highestSequence(run: Storage): Promise<number> {
  let highest = 0;
  for await (const { key } of run.list(folder)) {
    const sequence = /^commits\/(\d{8,})\.json$/.exec(key)?.[1];
    if (sequence !== undefined) highest = Math.max(highest, Number(sequence));
  }
  return highest;
}

/** Reads one entry. Throws only when the storage does. */
export async function readEntry(run: Storage, sequence: number): Promise<LoggedEntry> {
  const key = commitKey(sequence);
  const file = `${run.uri}/${key}`;
  if ((await run.size(key)) === null) return { sequence, file, entry: null, damage: 'the entry is missing' };
  const parsed = parseCommitFile(await run.read(key));
  if (typeof parsed === 'string') return { sequence, file, entry: null, damage: parsed };
  if (parsed.sequence !== sequence) {
    return { sequence, file, entry: null, damage: `the entry in it has the number ${parsed.sequence}` };
  }
  return { sequence, file, entry: parsed, damage: null };
}

/** Reads the checkpoint of a sequence number. Throws CheckpointError when it is none, or damaged. */
export async function readCheckpointEntry(run: Storage, sequence: number): Promise<CheckpointEntry> {
  const { file, entry, damage } = await readEntry(run, sequence);
  if (entry === null) throw new CheckpointError(`${file}: ${damage}`);
  if (entry.kind !== 'checkpoint') throw new CheckpointError(`${file}: a ${entry.kind}, not a checkpoint`);
  return entry;
}

/** Null when another writer has the number. */
async function create<E extends CommitEntry>(
  run: Storage,
  sequence: number,
  draft: Draft<E>,
  id: string,
): Promise<E | null> {
  const entry = {
    version: 1,
    id,
    sequence,
    at: new Date().toISOString(),
    ...draft,
  } as unknown as E;
  const bytes = formatCommitFile(entry);
  // What cannot be read back must not be written: it would look like damage, and stop the run.
  const check = parseCommitFile(bytes);
  if (typeof check === 'string') throw new CheckpointError(`${run.uri}: the commit is not valid: ${check}`);
  return (await run.createExclusive(commitKey(sequence), bytes)) ? (check as E) : null;
}

const prefix = '{"crc32c":"';
const middle = '","entry":';

/** `{"crc32c":"<8 hex digits>","entry":<text>}`, the checksum being that of the text's bytes. */
function formatCommitFile(entry: CommitEntry): Buffer {
  const body = Buffer.from(JSON.stringify(entry));
  const checksum = crc32c(body).toString(16).padStart(8, '0');
  return Buffer.concat([Buffer.from(`${prefix}${checksum}${middle}`), body, Buffer.from('}\n')]);
}

/** The entry, or what is wrong. */
function parseCommitFile(bytes: Buffer): CommitEntry | string {
  const start = prefix.length + 8 + middle.length;
  if (bytes.length < start + 2) return `truncated to ${bytes.length} bytes`;
  const framed =
    bytes.toString('latin1', 0, prefix.length) === prefix &&
    bytes.toString('latin1', start - middle.length, start) === middle &&
    bytes.toString('latin1', bytes.length - 2) === '}\n';
  if (!framed) return 'truncated, or no commit entry';
  const declared = bytes.toString('latin1', prefix.length, prefix.length + 8);
  const actual = crc32c(bytes.subarray(start, bytes.length - 2))
    .toString(16)
    .padStart(8, '0');
  if (declared !== actual) return `its checksum is ${actual}, not ${declared}: the file was damaged`;
  try {
    const parsed = commitFileSchema.safeParse(JSON.parse(bytes.toString('utf8')));
    if (parsed.success) return parsed.data.entry;
    const issue = parsed.error.issues[0]!;
    return `not an entry that this version of Temper understands: ${issue.path.join('.')}: ${issue.message}`;
  } catch (error) {
    return `not valid JSON: ${error instanceof Error ? error.message : error}`;
  }
}
