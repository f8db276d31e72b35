/**
 * Decides which checkpoints are kept. The decision is an entry of the log (so a fenced process cannot take it), and
 * files are deleted after it is in the log: a host that takes a newer generation and then reads the log sees what is
 * left, and nobody deletes that until the newer generation itself has committed.
 */
import type { CheckpointEntry } from '../../contracts/index.js';
import type { Storage } from '../../shared/storage/index.js';
import { appendRetirement } from './commit_log.js';
import { readHistory } from './evaluation_history.js';
import { liveCheckpoints } from './live.js';
import { sidecarKey } from './rank_file.js';

export interface Retention {
  /** Checkpoints kept, by distinct step; the best one is kept as well, by loss and by what tasks say. */
  keepLast: number;
}

/**
 * Retires what `newest`, the commit just made, has made superfluous, and deletes the files of retired and of unfinished
 * checkpoints. Safe to repeat.
 * @throws FencedError when a newer generation holds the run; nothing is deleted then
 */
export async function retire(
  storage: Storage,
  newest: CheckpointEntry,
  { keepLast }: Retention,
): Promise<void> {
  const live: CheckpointEntry[] = [];
  for await (const { entry } of liveCheckpoints(storage)) if (entry !== null) live.push(entry);
  // A history that cannot be read stops no training: the evaluation that needs it will say so.
  const bestSteps = await readHistory(storage).then(
    ({ keep }) => keep,
    () => [],
  );
  const keep = selectKept(
    traceLineage(live, newest),
    [newest.trainer.best?.step ?? 0, ...bestSteps],
    keepLast,
  );
  const kept = keep.map(({ sequence }) => sequence);
  // The first commit of a generation: what an older one was writing when it was killed is still there.
  const ownCheckpoints = live.filter(({ generation }) => generation === newest.generation);
  const first = newest.sequence === Math.min(...ownCheckpoints.map(({ sequence }) => sequence));
  if (live.some(({ sequence }) => !kept.includes(sequence))) {
    await appendRetirement(storage, { kind: 'retirement', generation: newest.generation, keep: kept });
    const retired = live.filter(({ sequence }) => !kept.includes(sequence)).flatMap(namedFiles);
    const older = first || retired.some((file) => !file.startsWith(`g${newest.generation}/`));
    await sweep(storage, newest, keep, { older });
  } else if (first) {
    await sweep(storage, newest, keep, { older: true });
  }
}

/** Returns the objects of a checkpoint: its files, and their sidecars. */
function namedFiles({ files }: CheckpointEntry): string[] {
  return files.flatMap(({ file }) => [file, sidecarKey(file)]);
}

/**
 * Returns the checkpoints that `newest` continues, newest first. A resume that went back past a damaged checkpoint has
 * abandoned it: an entry belongs to the lineage up to the number from which the next generation continued.
 */
function traceLineage(live: readonly CheckpointEntry[], newest: CheckpointEntry): CheckpointEntry[] {
  const lineage = [newest];
  let generation = newest.generation;
  let bound = newest.sequence;
  for (const entry of [...live].sort((a, b) => b.sequence - a.sequence)) {
    if (entry.sequence > bound || entry.sequence === newest.sequence) continue;
    if (entry.generation !== generation) {
      const resumedFrom = lineage.at(-1)!.resumedFrom;
      if (resumedFrom === null || entry.sequence > resumedFrom) continue;
      generation = entry.generation;
      bound = resumedFrom;
    }
    lineage.push(entry);
  }
  return lineage;
}

/** Returns the last `keepLast` steps, and the newest commit of each of the best ones. */
function selectKept(
  lineage: readonly CheckpointEntry[],
  best: readonly number[],
  keepLast: number,
): CheckpointEntry[] {
  const steps = new Set<number>();
  return lineage.filter(({ trainer: { step } }) => {
    if (steps.has(step)) return false;
    steps.add(step);
    return steps.size <= keepLast || best.includes(step);
  });
}

/**
 * Deletes every file of a checkpoint of this generation, or of an older one where `older` says so, that no kept commit
 * names. Metrics stay: they are the run's history.
 */
async function sweep(
  storage: Storage,
  newest: CheckpointEntry,
  keep: readonly CheckpointEntry[],
  { older }: { older: boolean },
): Promise<void> {
  const { generation } = newest;
  const namedKeys = new Set(keep.flatMap(namedFiles));
  const folders = new Set<string>();
  for await (const { key } of storage.list(older ? 'g' : `g${generation}/step-`)) {
    const match = /^(g(\d+)\/step-(\d+)\/)/.exec(key);
    if (match === null || namedKeys.has(key)) continue;
    // A later step of this generation is being written by its ranks.
    const isFinishedStep = Number(match[2]) === generation && Number(match[3]) <= newest.trainer.step;
    if (isFinishedStep || Number(match[2]) < generation) {
      if ([...namedKeys].some((file) => file.startsWith(match[1]!))) await storage.delete(key);
      else folders.add(match[1]!);
    }
  }
  for (const folder of folders) await storage.deletePrefix(folder);
  if (older) await discardUnfinished(storage, generation);
}

/** A write of an entry or a document takes moments: one this old belongs to a process that was killed. */
const abandonedSeconds = 3600;

/** Discards what processes were writing when they were killed: those of older generations, and others after an hour. */
async function discardUnfinished(storage: Storage, generation: number): Promise<void> {
  for await (const write of storage.unfinished('')) {
    const generationText = /^g(\d+)\//.exec(write.key)?.[1];
    const isFenced = generationText !== undefined && Number(generationText) < generation;
    const isOld = Date.now() - write.startedAt.getTime() > abandonedSeconds * 1000;
    if (isFenced || (isOld && /^(commits\/|[^/]+$)/.test(write.key))) await write.discard();
  }
}
