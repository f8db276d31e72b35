/** Between a run's commit log and its engine session. */
import {
  CheckpointSaver,
  describeDamage,
  loadNewestSound,
  MetricsJournal,
  type RankTensor,
} from '../../../components/checkpoint/index.js';
import type { LoggerFeed } from '../../../components/loggers/index.js';
import {
  type CheckpointEntry,
  type EpochOutcome,
  type ExecutionSignature,
  isTaskMetrics,
  type RankStart,
  type TrainerState,
} from '../../../contracts/index.js';
import type { Snapshot } from '../../../engine/index.js';
import { canonicalJson } from '../../../shared/digest.js';
import { CheckpointError } from '../../../shared/errors.js';
import type { OpenRun } from '../kind.js';
import { openLoggers } from '../loggers.js';
import type { Session } from './session.js';

export interface Resumed {
  state: TrainerState;
  /** The timeline's entry for this generation's start. */
  from: Pick<NonNullable<EpochOutcome['resumed']>, 'fromStep' | 'stepsLost' | 'exactness' | 'damage'>;
}

export class RunCheckpoints {
  readonly #saver: CheckpointSaver;
  readonly #run: OpenRun;
  readonly #session: Session;
  readonly #loggers: LoggerFeed;
  /** The delivery to the loggers that is under way. */
  #delivery: Promise<void> = Promise.resolve();

  private constructor(
    run: OpenRun,
    session: Session,
    readonly journal: MetricsJournal,
    saver: CheckpointSaver,
    loggers: LoggerFeed,
  ) {
    this.#run = run;
    this.#session = session;
    this.#saver = saver;
    this.#loggers = loggers;
  }

  /** Loads the newest sound commit into the session, and makes ready to save. */
  static async resume(run: OpenRun, start: RankStart, session: Session): Promise<[RunCheckpoints, Resumed]> {
    const { entry, damage } = await loadNewestSound(run.storage, async (checkpoint) => {
      requireTensors(session, checkpoint.entry, run.storage.uri);
      await checkpoint.stream((name, byteOffset, chunk) =>
        session.context.write(name, chunk, byteOffset / 4),
      );
    });
    const { generation } = start;
    const journal = await MetricsJournal.open({ storage: run.storage, generation, resumedFrom: entry });
    const saver = new CheckpointSaver({
      storage: run.storage,
      generation,
      recipeDigest: start.run.recipeDigest,
      planDigest: session.compiled.training.plan.digest,
      signature: session.context.signature,
      journal,
      resumedFrom: entry,
      keepLast: run.recipe.checkpoint.keep_last,
    });
    const fromStep = entry?.trainer.step ?? 0;
    const reached = journal.reachedBefore;
    const resumed: Resumed = {
      state: entry?.trainer ?? firstState(run.recipe.seed),
      from: {
        fromStep,
        stepsLost: reached === null ? null : Math.max(0, reached - fromStep),
        exactness: entry === null ? 'fresh' : exactness(entry, session),
        damage: damage.map(describeDamage),
      },
    };
    const loggers = openLoggers(run);
    const checkpoints = new RunCheckpoints(run, session, journal, saver, loggers);
    // What was committed by a process that was killed before its loggers had it. Scores of tasks may still be added to.
    checkpoints.#delivery = loggers.deliver(journal.takeResumed().filter((line) => !isTaskMetrics(line)));
    return [checkpoints, resumed];
  }

  /** The step and number of the newest commit; null before the first. */
  get newest(): { step: number; commit: number } | null {
    const last = this.#saver.last;
    return last === null ? null : { step: last.trainer.step, commit: last.sequence };
  }

  /**
   * Saves the state of this moment: all that is queued after this call may change the tensors. Returns while they are copied
   * and written, or once they are committed and logged where the recipe saves synchronously.
   */
  async save(trainer: TrainerState): Promise<void> {
    // The host memory of the save under way is given back first: two copies never exist at a time.
    await this.#saver.settle();
    const snapshot = this.#session.snapshot();
    const tensors = snapshot.then((copies) => this.#rankTensors(copies));
    const { committed, metrics } = await this.#saver.begin({ trainer, tensors });
    // A copy that failed has nothing to release; `committed` says why.
    const release = () => snapshot.then((copies) => copies.release()).catch(() => undefined);
    committed.then(release, release);
    this.#delivery = committed.then(
      () => this.#loggers.deliver(metrics),
      () => undefined,
    );
    if (this.#run.recipe.checkpoint.async) return;
    await committed;
    await this.#delivery;
  }

  /** Waits until all is committed and logged. */
  async settle(): Promise<void> {
    await this.#saver.settle();
    await this.#delivery;
  }

  async close(): Promise<void> {
    await this.settle().catch(() => undefined);
    await this.journal.close();
    await this.#loggers.close();
  }

  #rankTensors({ tensors }: Snapshot): RankTensor[] {
    const { context, stateTensors } = this.#session;
    return [...tensors].map(([name, data]) => {
      const { shape } = context.tensors.get(name)!;
      const role = stateTensors.get(name)!;
      return { name, dtype: 'f32', role, shape, rows: [0, shape[0] ?? 1], data };
    });
  }
}

function firstState(seed: number): TrainerState {
  return { step: 0, epoch: 0, cursor: 0, seed, tokens: 0, supervisedTokens: 0, best: null, validation: {} };
}

/** Returns `bitwise` when nothing that decides the bits has changed, else `rounding`. */
function exactness(entry: CheckpointEntry, session: Session): 'bitwise' | 'rounding' {
  const samePlan = entry.planDigest === session.compiled.training.plan.digest;
  const sameBits = decidesBits(entry.signatures) === decidesBits([session.context.signature]);
  return samePlan && sameBits && entry.worldSize === 1 ? 'bitwise' : 'rounding';
}

/** Returns execution signatures without their threads: any number of threads computes the same bits. */
const decidesBits = (signatures: readonly ExecutionSignature[]): string =>
  canonicalJson(signatures.map(({ threads: _, ...rest }) => rest));

function requireTensors(session: Session, entry: CheckpointEntry, uri: string): void {
  for (const name of session.stateTensors.keys()) {
    const { shape } = session.context.tensors.get(name)!;
    const committed = entry.tensors[name];
    if (committed !== undefined && committed.shape.join() === shape.join()) continue;
    const difference =
      committed === undefined ? 'does not have it' : `holds it as [${committed.shape.join(', ')}]`;
    throw new CheckpointError(
      `${uri}: the run trains '${name}' [${shape.join(', ')}], but commit ${entry.sequence} ${difference}: it was made by another recipe; start over with --new`,
    );
  }
}
