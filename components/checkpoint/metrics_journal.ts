/**
 * `metrics.jsonl`: one line for each step, one for each validation and one for each evaluation of tasks, however often the
 * run was interrupted.
 *
 * The truth is in segments, `g<generation>/metrics/<first step>.jsonl`: the lines since the commit before, written once and
 * named by the commit, so that a segment of a fenced process is named by nothing. `metrics.jsonl` is put together from them
 * when a generation opens it, and grows from there: on a folder line by line, on an object store, which has no append, with
 * the commits. Tasks are evaluated outside of generations, and their lines are in the merged file only.
 */
import { appendFile } from 'node:fs/promises';
import path from 'node:path';
import {
  type CheckpointEntry,
  type CommittedMetrics,
  isStepMetrics,
  isTaskMetrics,
  isValidationMetrics,
  type MetricsLine,
  metricsKey,
  metricsSegmentKey,
  type TaskMetrics,
} from '../../contracts/index.js';
import { sha256 } from '../../shared/digest.js';
import type { Storage } from '../../shared/storage/index.js';
import { requireGeneration } from './commit_log.js';
import { walkLineage } from './live.js';
import { type MergedFile, openMergedFile } from './merged_metrics.js';

export interface JournalOptions {
  /** Storage of the run's folder. */
  storage: Storage;
  generation: number;
  /** The commit from which this generation resumed; null when it began at step 0. */
  resumedFrom: CheckpointEntry | null;
}

/** Adds a line about tasks while a generation writes: an object store, which cannot append, gets it when all is settled. */
export async function appendTaskMetrics(storage: Storage, line: TaskMetrics): Promise<void> {
  if (storage.folder !== null) await appendFile(path.join(storage.folder, metricsKey), encodeLines([line]));
}

/** Makes these the only lines about tasks in the merged file, each after its step. No generation may be writing. */
export async function settleTaskMetrics(storage: Storage, lines: readonly TaskMetrics[]): Promise<void> {
  const others = (await readMetrics(storage)).filter((line) => !isTaskMetrics(line));
  await storage.write(metricsKey, encodeLines([...others, ...lines].sort(byStep)));
}

/** Returns the lines of the run's metrics.jsonl, in its order. */
export async function readMetrics(storage: Storage): Promise<MetricsLine[]> {
  return parseLines(await readMerged(storage));
}

async function readMerged(storage: Storage): Promise<Buffer> {
  return (await storage.size(metricsKey)) === null ? Buffer.alloc(0) : storage.read(metricsKey);
}

interface Segment {
  file: string;
  text: Buffer;
  lines: readonly MetricsLine[];
}

/** Lines that go with one commit: those since the last one that succeeded. */
export interface JournalCut {
  readonly segments: readonly Segment[];
}

/** The journal that takes one generation's lines. */
export class MetricsJournal {
  readonly #options: JournalOptions;
  readonly #merged: MergedFile;
  /** Newest step that the generation before wrote; null when that is not known. */
  readonly reachedBefore: number | null;
  /** Lines since the last cut. */
  #lines: MetricsLine[] = [];
  /** The lines that were committed before this generation, until they are merged. */
  #resumed: readonly MetricsLine[];
  /** Segments that no commit names yet. */
  #pending: Segment[] = [];
  /** Number of segments that have begun at a step. */
  readonly #files = new Map<string, number>();

  private constructor(
    options: JournalOptions,
    merged: MergedFile,
    resumed: readonly MetricsLine[],
    reachedBefore: number | null,
  ) {
    this.#options = options;
    this.#resumed = resumed;
    this.#merged = merged;
    this.reachedBefore = reachedBefore;
  }

  /**
   * Puts the merged file together from what was committed, and opens it for this generation.
   *
   * @throws FencedError when a newer generation holds the run
   */
  static async open(options: JournalOptions): Promise<MetricsJournal> {
    const { storage, generation, resumedFrom } = options;
    const mergedFile = await readMerged(storage);
    const earlier = parseLines(mergedFile);
    const step = resumedFrom?.trainer.step ?? 0;
    const tasks = earlier.filter((line) => isTaskMetrics(line) && line.step <= step);
    const lines = [...(await committedLines(options, mergedFile)), ...tasks].sort(byStep);
    await requireGeneration(storage, generation);
    const merged = await openMergedFile(storage, generation, encodeLines(lines));
    const steps = earlier.filter(isStepMetrics).map((line) => line.step);
    // The merged file of an object store may lack what was not committed.
    const isLocal = storage.folder !== null && steps.length > 0;
    return new MetricsJournal(
      options,
      merged,
      lines,
      isLocal ? steps.reduce((a, b) => Math.max(a, b)) : null,
    );
  }

  /** Returns the lines that were committed before this generation, once: they are not kept. */
  takeResumed(): readonly MetricsLine[] {
    const lines = this.#resumed;
    this.#resumed = [];
    return lines;
  }

  append(line: MetricsLine): void {
    this.#lines.push(line);
    this.#merged.append(encodeLines([line]));
  }

  /** Takes the lines so far for a commit: what is appended later belongs to the next one. */
  cut(): JournalCut {
    if (this.#lines.length > 0) {
      const lines = this.#lines;
      this.#pending.push({ file: this.#segmentFile(lines[0]!.step), text: encodeLines(lines), lines });
      this.#lines = [];
    }
    return { segments: [...this.#pending] };
  }

  /**
   * Returns a file that this generation has not written yet: a validation may add to a step that was committed before
   * it.
   */
  #segmentFile(firstStep: number): string {
    const name = String(firstStep).padStart(8, '0');
    const earlier = this.#files.get(name) ?? 0;
    this.#files.set(name, earlier + 1);
    const suffix = earlier === 0 ? '' : `-${earlier + 1}`;
    return metricsSegmentKey(this.#options.generation, `${name}${suffix}`);
  }

  /** Makes a cut durable. Returns what the commit says of it. */
  async write({ segments }: JournalCut): Promise<CommittedMetrics> {
    await this.#merged.flush();
    for (const { file, text } of segments) await this.#options.storage.write(file, text);
    return {
      segments: segments.map(({ file, text }) => ({ file, sha256: sha256(text) })),
      merged: this.#merged.opened,
    };
  }

  /** Notes that a cut was committed. */
  async confirm({ segments }: JournalCut): Promise<void> {
    this.#pending = this.#pending.filter((segment) => !segments.includes(segment));
    await this.#merged.grow();
  }

  /**
   * Brings every line so far into the merged file.
   * @throws FencedError when a newer generation holds the run
   */
  publish(): Promise<void> {
    return this.#merged.publish();
  }

  async close(): Promise<void> {
    await this.#merged.close();
  }
}

/**
 * Returns the lines up to the commit from which a generation resumes. Those of the merged file count where no segment
 * has others; the walk through the segments ends where the merged file begins as a commit says that it did.
 */
async function committedLines(
  { storage, resumedFrom }: JournalOptions,
  before: Buffer,
): Promise<MetricsLine[]> {
  if (resumedFrom === null) return [];
  const { step } = resumedFrom.trainer;
  const merged = resumedFrom.metrics?.merged;
  const isUnchanged = merged !== undefined && sha256(before.subarray(0, merged.bytes)) === merged.sha256;
  const segments: MetricsLine[][] = [];
  for await (const { metrics } of walkLineage(storage, resumedFrom)) {
    if (metrics === null || (isUnchanged && metrics.merged.sha256 !== merged.sha256)) break;
    for (const segment of metrics.segments.toReversed())
      segments.unshift(await readSegment(storage, segment));
  }
  const lines = [...parseLines(before), ...segments.flat()].filter(
    (line) => !isTaskMetrics(line) && line.step <= step,
  );
  return [...new Map(lines.map((line) => [lineKey(line), line])).values()];
}

/** Reads a segment; nothing when it is missing or was changed: metrics are not worth stopping a run for. */
async function readSegment(
  storage: Storage,
  { file, sha256: expected }: CommittedMetrics['segments'][number],
): Promise<MetricsLine[]> {
  if ((await storage.size(file)) === null) return [];
  const text = await storage.read(file);
  return sha256(text) === expected ? parseLines(text) : [];
}

/** Returns the lines that are whole: the last one of a process that was killed may not be. */
function parseLines(bytes: Buffer): MetricsLine[] {
  return bytes
    .toString('utf8')
    .split('\n')
    .flatMap((text) => {
      try {
        const line = JSON.parse(text) as MetricsLine | null;
        return typeof line?.step === 'number' ? [line] : [];
      } catch {
        return [];
      }
    });
}

/** Returns the position of a line within its step: the step, then its validation, then its tasks. */
function order(line: MetricsLine): number {
  if (isStepMetrics(line)) return 0;
  return isValidationMetrics(line) ? 1 : 2;
}

const byStep = (a: MetricsLine, b: MetricsLine): number => a.step - b.step || order(a) - order(b);

function encodeLines(lines: readonly MetricsLine[]): Buffer {
  return Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

function lineKey(line: MetricsLine): string {
  return `${order(line)}:${line.step}`;
}
