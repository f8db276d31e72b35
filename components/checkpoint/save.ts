/** Saves checkpoints while training continues. */
import { randomUUID } from 'node:crypto';
import type {
  CheckpointEntry,
  CommittedMetrics,
  ExecutionSignature,
  MetricsLine,
  TrainerState,
} from '../../contracts/index.js';
import { FencedError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/index.js';
import { appendCheckpoint, type CheckpointDraft, readLog, requireGeneration } from './commit_log.js';
import type { JournalCut, MetricsJournal } from './metrics_journal.js';
import { mergeRankFiles, type RankFile, type RankTensor, sidecarKey, writeRankFile } from './rank_file.js';
import { retire } from './retention.js';

/** The state of a run after a step. Once in host memory, its tensors may not change until the save is done. */
export interface Snapshot {
  trainer: TrainerState;
  /** A promise of them while they are still copied: training need not wait for that. */
  tensors: readonly RankTensor[] | Promise<readonly RankTensor[]>;
}

export interface SaverOptions {
  /** Storage of the run's folder. */
  storage: Storage;
  /** The generation that this process holds. */
  generation: number;
  recipeDigest: string;
  planDigest: string;
  signature: ExecutionSignature;
  /** Takes the lines of metrics.jsonl. */
  journal: MetricsJournal;
  /** The commit from which this generation resumed; null when it began at step 0. */
  resumedFrom: CheckpointEntry | null;
  keepLast: number;
}

/**
 * Saves one checkpoint at a time in the background: files, sync, commit, retention.
 *
 * An error (a full disk, a newer generation) rejects the promise that `begin` gave, and the next `begin` or `settle`
 * throws it once; one of retention, after the commit, is thrown only there. Earlier commits are unchanged, no partial
 * file is left, and saving may continue.
 *
 * @example
 * const saver = new CheckpointSaver({ storage, generation, … });
 * void saver.begin(snapshot); // training continues
 * await saver.settle(); // before the process ends
 */
export class CheckpointSaver {
  #last: CheckpointEntry | null;
  #saving: Promise<void> | null = null;
  readonly #options: SaverOptions;

  constructor(options: SaverOptions) {
    this.#options = options;
    this.#last = options.resumedFrom;
  }

  /** Newest commit of this process, or the one it resumed from. */
  get last(): CheckpointEntry | null {
    return this.#last;
  }

  /** True while a save is in progress. */
  get saving(): boolean {
    return this.#saving !== null;
  }

  /**
   * Starts a save, once the one under way is done. The promise resolves with the commit, which names `metrics`.
   * A second save of one step writes no tensors again: the new commit names the same files with the new trainer state.
   */
  async begin(
    snapshot: Snapshot,
  ): Promise<{ committed: Promise<CheckpointEntry>; metrics: readonly MetricsLine[] }> {
    await this.settle();
    const { storage, keepLast, journal } = this.#options;
    // Before anything is awaited: training may write lines of later steps as soon as it continues.
    const cut = journal.cut();
    const committed = this.#save(snapshot, cut);
    this.#saving = committed.then(async (entry) => {
      await journal.confirm(cut);
      await retire(storage, entry, { keepLast });
    });
    // Its error is kept for the next begin or settle; it must not end the process in the meantime.
    this.#saving.catch(() => undefined);
    return { committed, metrics: cut.segments.flatMap(({ lines }) => lines) };
  }

  /** Waits for the save under way. Throws its error, once. */
  async settle(): Promise<void> {
    const saving = this.#saving;
    try {
      await saving;
    } finally {
      if (this.#saving === saving) this.#saving = null;
    }
  }

  async #save({ trainer, tensors }: Snapshot, cut: JournalCut): Promise<CheckpointEntry> {
    const copied = await tensors;
    const sameStep = this.#last !== null && this.#last.trainer.step === trainer.step ? this.#last : null;
    const rankFiles = sameStep === null ? [await this.#write(trainer.step, copied)] : [];
    const metrics = await this.#options.journal.write(cut);
    const entry = await this.#commit(trainer, rankFiles, metrics, sameStep);
    this.#last = entry;
    return entry;
  }

  async #write(step: number, tensors: readonly RankTensor[]): Promise<RankFile> {
    const { storage, generation } = this.#options;
    try {
      return await writeRankFile(storage, { generation, step, rank: 0, worldSize: 1 }, tensors);
    } catch (error) {
      // A newer generation removes the files of older ones, also those under construction: say that instead.
      await requireGeneration(storage, generation);
      throw error;
    }
  }

  async #commit(
    trainer: TrainerState,
    rankFiles: readonly RankFile[],
    metrics: CommittedMetrics,
    sameStep: CheckpointEntry | null,
  ): Promise<CheckpointEntry> {
    const { storage, generation, recipeDigest, planDigest, signature, resumedFrom } = this.#options;
    const { tensors, files } = sameStep ?? mergeRankFiles(rankFiles);
    return commitFiles(storage, rankFiles, {
      kind: 'checkpoint',
      generation,
      worldSize: sameStep?.worldSize ?? 1,
      recipeDigest,
      planDigest,
      resumedFrom: resumedFrom?.sequence ?? null,
      signatures: [signature],
      reduction: 'tree-1',
      trainer,
      tensors,
      files,
      metrics,
    });
  }
}

/**
 * Commits files just written. An append whose answer is lost may have succeeded, and another host may resume from it, so
 * nothing is deleted then: what no commit names, the next sweep removes. Only a FencedError of the append proves that the
 * commit is absent: every number that was tried had gone to somebody else.
 */
async function commitFiles(
  storage: Storage,
  rankFiles: readonly RankFile[],
  draft: CheckpointDraft,
): Promise<CheckpointEntry> {
  const id = randomUUID();
  try {
    return await appendCheckpoint(storage, draft, id);
  } catch (error) {
    if (error instanceof FencedError) {
      for (const { content } of rankFiles) {
        for (const key of [content.file, sidecarKey(content.file)])
          await storage.delete(key).catch(() => undefined);
      }
      throw error;
    }
    const committed = await findCommitted(storage, draft.generation, id).catch(() => null);
    if (committed === null) throw error;
    return committed;
  }
}

/** Returns the checkpoint `id` if it is in the log, searched down to the entry with which its generation began. */
async function findCommitted(
  storage: Storage,
  generation: number,
  id: string,
): Promise<CheckpointEntry | null> {
  for await (const { entry } of readLog(storage)) {
    if (entry === null) continue;
    if (entry.kind === 'checkpoint' && entry.id === id) return entry;
    if (entry.generation < generation) return null;
    if (entry.kind === 'generation' && entry.generation === generation) return null;
  }
  return null;
}
