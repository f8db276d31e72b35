/**
 * The commit log of a run: `<run>/commits/00000001.json` and so on, each created exclusively and never changed. The log
 * is the only truth about who holds the run and what it has saved.
 *
 * An entry is a claim (a workflow begins to drive the run), a generation (a gang begins to train), a checkpoint or a
 * retirement (which checkpoints may still be loaded).
 *
 * Fencing. An append reads the newest entry, and creates the next number. Of two processes that try, one wins; the
 * other reads again. Nobody appends after an entry of another generation than their own, so a host that takes a
 * generation has fenced all older ones with that very entry; and a claim fences whatever generation was taken before
 * it. A number that cannot be read may have taken a generation too: it is never used again, nobody appends after it
 * with an older generation, and the next generation skips the one it may have taken.
 */
import { randomUUID } from 'node:crypto';
import {
  type CheckpointEntry,
  type ClaimEntry,
  type CommitEntry,
  commitKey,
  commitsPrefix,
  type GenerationClaim,
  type GenerationEntry,
  type RetirementEntry,
} from '../../contracts/index.js';
import { CheckpointError, FencedError, ServiceUnavailable } from '../../shared/errors.js';
import { describeExcess, readDocument, type Storage } from '../../shared/storage/index.js';
import { formatCommitFile, parseCommitFile } from './commit_file.js';

/** An entry as it was found: sound, or with what is wrong with it. */
export type LoggedEntry =
  | { sequence: number; file: string; entry: CommitEntry; damage: null }
  | { sequence: number; file: string; entry: null; damage: string };

/** The part of an entry that its writer decides; the log adds version, number, id and time. */
type Draft<E extends CommitEntry> = Omit<E, 'version' | 'sequence' | 'id' | 'at'>;
export type CheckpointDraft = Draft<CheckpointEntry>;
export type RetirementDraft = Draft<RetirementEntry>;

/** Lost races for a number before an append gives up: with the pauses between them, minutes of other writers without a break. */
const maxAttempts = 100;
/** Longest pause between two attempts, in ms. */
const longestPause = 1000;

export interface GenerationRequest {
  /** `<pool>.<host>.<incarnation>` */
  holder: string;
  worldSize: number;
  /** The request that it is for; a generation that was taken for the same grant is returned again. */
  claim?: GenerationClaim | null;
}

/**
 * Takes the next generation of a run, which fences every older one. `storage` holds the run's folder.
 *
 * @throws FencedError when a generation was taken for a newer claim or a later request
 */
export async function takeGeneration(storage: Storage, request: GenerationRequest): Promise<GenerationEntry> {
  const { holder, worldSize, claim = null } = request;
  return attempt(storage, async () => {
    const tip = await readTip(storage);
    const earlier = claim === null ? null : await findGenerationOf(storage, claim);
    if (earlier !== null) return earlier;
    const draft = { kind: 'generation' as const, generation: tip.nextGeneration, holder, worldSize, claim };
    return create<GenerationEntry>(storage, tip.sequence + 1, draft, randomUUID());
  });
}

/** Returns the newest generation if it was taken for the same grant, null if it was taken for an earlier request. */
async function findGenerationOf(storage: Storage, claim: GenerationClaim): Promise<GenerationEntry | null> {
  const order = ({ incarnation, ordinal }: { incarnation: number; ordinal: number }) =>
    incarnation * 2 ** 32 + ordinal;
  for await (const { entry } of readLog(storage)) {
    if (entry?.kind === 'generation' && entry.claim?.grantId === claim.grantId) return entry;
    const newest =
      entry?.kind === 'claim'
        ? { incarnation: entry.incarnation, ordinal: 0 }
        : entry?.kind === 'generation'
          ? entry.claim
          : null;
    if (newest === null) continue;
    if (order(newest) < order(claim)) return null;
    throw new FencedError(
      `${storage.uri}: a gang was formed for request ${newest.ordinal} of claim ${newest.incarnation}; request ${claim.ordinal} of claim ${claim.incarnation} comes too late`,
    );
  }
  return null;
}

/** The workflow that drives a run. */
export type Claimant = Pick<ClaimEntry, 'server' | 'namespace' | 'namespaceId' | 'workflowId' | 'firstRunId'>;

/** Appends a claim, which fences every generation taken before it. Claiming again for the same workflow run changes nothing. */
export async function takeClaim(storage: Storage, claimant: Claimant): Promise<ClaimEntry> {
  return attempt(storage, async () => {
    const tip = await readTip(storage);
    const newest = await readClaim(storage);
    const { server, namespace, namespaceId, workflowId, firstRunId } = claimant;
    if (newest?.namespaceId === namespaceId && newest.firstRunId === firstRunId) return newest;
    const draft = {
      kind: 'claim' as const,
      generation: tip.nextGeneration - 1,
      incarnation: (newest?.incarnation ?? 0) + 1,
      ...{ server, namespace, namespaceId, workflowId, firstRunId },
    };
    return create<ClaimEntry>(storage, tip.sequence + 1, draft, randomUUID());
  });
}

/** Returns the newest claim; null when no workflow has claimed the run. */
export async function readClaim(storage: Storage): Promise<ClaimEntry | null> {
  for await (const { entry } of readLog(storage)) if (entry?.kind === 'claim') return entry;
  return null;
}

/**
 * Appends a checkpoint. A caller who wants to know after another error whether the entry is in the log looks for `id`.
 * @throws FencedError when a newer generation holds the run
 */
export function appendCheckpoint(
  storage: Storage,
  draft: CheckpointDraft,
  id: string = randomUUID(),
): Promise<CheckpointEntry> {
  return append<CheckpointEntry>(storage, draft, id);
}

/**
 * Appends a retirement.
 * @throws FencedError when a newer generation holds the run
 */
export function appendRetirement(storage: Storage, draft: RetirementDraft): Promise<RetirementEntry> {
  return append<RetirementEntry>(storage, draft, randomUUID());
}

function append<E extends CheckpointEntry | RetirementEntry>(
  storage: Storage,
  draft: Draft<E>,
  id: string,
): Promise<E> {
  return attempt(storage, async () => {
    const tip = await readTip(storage);
    requireHeld(storage, tip, draft.generation);
    return create<E>(storage, tip.sequence + 1, draft, id);
  });
}

/** Repeats `tryOnce` while it returns null, because another writer has the number, with growing random pauses. */
async function attempt<E>(storage: Storage, tryOnce: () => Promise<E | null>): Promise<E> {
  for (let lost = 0; lost < maxAttempts; lost += 1) {
    const entry = await tryOnce();
    if (entry !== null) return entry;
    const pause = Math.random() * Math.min(longestPause, 2 ** lost);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  throw new ServiceUnavailable(
    `${storage.uri}: other writers took each of ${maxAttempts} numbers of the commit log first; find out what else writes there`,
  );
}

/**
 * Checks that a generation holds the run. The answer may be out of date as soon as it is given.
 * @throws FencedError unless `generation` still holds the run
 */
export async function requireGeneration(storage: Storage, generation: number): Promise<void> {
  requireHeld(storage, await readTip(storage), generation);
}

function requireHeld(storage: Storage, tip: Tip, generation: number): void {
  if (tip.newest?.kind === 'claim') {
    const { workflowId, namespace, server } = tip.newest;
    throw new FencedError(
      `${storage.uri}: the workflow '${workflowId}' (namespace ${namespace} of ${server}) has taken over this run; generation ${generation} may not commit to it any more`,
    );
  }
  if (tip.newest !== null && tip.newest.generation > generation) {
    throw new FencedError(
      `${storage.uri}: generation ${tip.newest.generation} has taken over this run; generation ${generation} may not commit to it any more`,
    );
  }
  const damaged = tip.damaged[0];
  if (damaged !== undefined) {
    throw new FencedError(
      `${damaged.file}: ${damaged.damage}; it may have taken a newer generation, so that generation ${generation} may not commit any more. Take a new generation to continue`,
    );
  }
  if (tip.newest === null || tip.newest.generation < generation) {
    throw new CheckpointError(`${storage.uri}: generation ${generation} was never taken in its commit log`);
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

async function readTip(storage: Storage): Promise<Tip> {
  const damaged: LoggedEntry[] = [];
  let sequence = 0;
  for await (const logged of readLog(storage)) {
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

/** Yields the log from its newest entry to its oldest. A number without a file is a damaged entry. */
export async function* readLog(storage: Storage): AsyncGenerator<LoggedEntry> {
  for (let sequence = await highestSequence(storage); sequence >= 1; sequence -= 1) {
    yield await readEntry(storage, sequence);
  }
}

/**
 * Highest number that this process has seen in a log. The next ones are asked for by name: listing a log of thousands of
 * entries for each checkpoint takes minutes on a network file system.
 */
const highestSeen = new WeakMap<Storage, number>();

async function highestSequence(storage: Storage): Promise<number> {
  const seen = highestSeen.get(storage) ?? 0;
  const highest = (seen === 0 ? null : await probe(storage, seen)) ?? (await listHighest(storage));
  highestSeen.set(storage, highest);
  return highest;
}

/**
 * Finds the log's end from a number seen before; null when that entry is gone, or a gap follows it: then only a listing
 * shows the end.
 */
async function probe(storage: Storage, seen: number): Promise<number | null> {
  const exists = async (sequence: number) => (await storage.size(commitKey(sequence))) !== null;
  if (!(await exists(seen))) return null;
  let highest = seen;
  while (await exists(highest + 1)) highest += 1;
  return (await exists(highest + 2)) ? null : highest;
}

async function listHighest(storage: Storage): Promise<number> {
  let highest = 0;
  for await (const { key } of storage.list(commitsPrefix)) {
    const sequence = /^commits\/(\d{8,})\.json$/.exec(key)?.[1];
    if (sequence !== undefined) highest = Math.max(highest, Number(sequence));
  }
  return highest;
}

/** Reads one entry. Throws only when the storage does. */
export async function readEntry(storage: Storage, sequence: number): Promise<LoggedEntry> {
  const key = commitKey(sequence);
  const file = `${storage.uri}/${key}`;
  const bytes = await readDocument(storage, key);
  if (bytes === null) return { sequence, file, entry: null, damage: 'the entry is missing' };
  const commitFile = typeof bytes === 'string' ? bytes : parseCommitFile(bytes);
  if (typeof commitFile === 'string') return { sequence, file, entry: null, damage: commitFile };
  if (commitFile.sequence !== sequence) {
    return { sequence, file, entry: null, damage: `the entry in it has the number ${commitFile.sequence}` };
  }
  return { sequence, file, entry: commitFile, damage: null };
}

/**
 * Reads the checkpoint of a sequence number.
 * @throws CheckpointError when it is none, or damaged
 */
export async function readCheckpointEntry(storage: Storage, sequence: number): Promise<CheckpointEntry> {
  const { file, entry, damage } = await readEntry(storage, sequence);
  if (entry === null) throw new CheckpointError(`${file}: ${damage}`);
  if (entry.kind !== 'checkpoint') throw new CheckpointError(`${file}: a ${entry.kind}, not a checkpoint`);
  return entry;
}

/** Creates an entry; null when another writer has the number. */
async function create<E extends CommitEntry>(
  storage: Storage,
  sequence: number,
  draft: Draft<E>,
  id: string,
): Promise<E | null> {
  const entry = {
    version: 2,
    id,
    sequence,
    at: new Date().toISOString(),
    ...draft,
  } as unknown as E;
  const bytes = formatCommitFile(entry);
  // What cannot be read back must not be written: it would look like damage, and stop the run.
  const check = describeExcess(bytes.length) ?? parseCommitFile(bytes);
  if (typeof check === 'string')
    throw new CheckpointError(`${storage.uri}: the commit is not valid: ${check}`);
  return (await storage.createExclusive(commitKey(sequence), bytes)) ? (check as E) : null;
}
