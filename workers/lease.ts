/** One slot as one run holds it: the device, the generation, and the rank's process. */
import { ApplicationFailure } from '@temporalio/common';
import type { ProgressListener } from '../activities/index.js';
import {
  type ControlMessage,
  type EpochOutcome,
  failureTypes,
  type Grant,
  type RunReference,
  type TrainRequest,
} from '../contracts/index.js';
import type { RankProcess } from './rank_process.js';

/** ms that a slot is kept for a run that does nothing with it: before it starts, between epochs, during an outage. */
const idleLimit = 60_000;
/** ms that a rank may take to commit when it has to make way. */
const preemptGrace = 120_000;

export class Lease {
  /** Present once the generation was taken. */
  grant: Grant | null = null;
  private rank: RankProcess | null = null;
  /** Whether the rank has loaded, so that there may be something to commit. */
  private loaded = false;
  /** The epoch under way, or the last one: its outcome stays for a workflow that did not hear it. */
  private epoch: { number: number; outcome: Promise<EpochOutcome>; settled: boolean } | null = null;
  /** The present `train`: who listens, and how its wait ends without ending the training. */
  private wait: { listener: ProgressListener; detach: () => void; fail: (error: unknown) => void } | null =
    null;
  /** Wishes that came before there was a rank. */
  private early: ControlMessage['action'][] = [];
  private idle: NodeJS.Timeout | null = null;
  private ended: Promise<void> | null = null;

  /**
   * @param startRank gives the rank's process, which nobody else uses
   * @param onEnd called once, when the rank is gone and the device is free
   */
  constructor(
    readonly run: RunReference,
    readonly device: string,
    private readonly startRank: () => RankProcess,
    private readonly onEnd: (lease: Lease) => void,
  ) {}

  get step(): number | null {
    return this.rank?.progress?.step ?? null;
  }

  get began(): boolean {
    return this.rank !== null;
  }

  /** See RankHost.train. A newer call takes over: the older one returns `detached`. */
  async train(request: TrainRequest, listener: ProgressListener): Promise<EpochOutcome | 'detached'> {
    this.rest(false);
    this.wait?.detach();
    const detached = new Promise<'detached'>((resolve, reject) => {
      this.wait = { listener, detach: () => resolve('detached'), fail: reject };
    });
    const mine = this.wait;
    if (this.rank?.progress != null) listener(this.rank.progress);
    const epoch = this.epoch?.number === request.epoch ? this.epoch : this.begin(request);
    try {
      const outcome = await Promise.race([epoch.outcome, detached]);
      if (outcome !== 'detached' && outcome.kind === 'preempted') await this.end();
      else if (this.wait === mine) this.rest(true);
      return outcome;
    } catch (error) {
      await this.end();
      throw error;
    } finally {
      if (this.wait === mine) this.wait = null;
    }
  }

  private begin(request: TrainRequest): NonNullable<typeof this.epoch> {
    const epoch = { number: request.epoch, outcome: this.trainOn(request), settled: false };
    const settle = () => {
      epoch.settled = true;
    };
    epoch.outcome.then(settle, settle);
    this.epoch = epoch;
    return epoch;
  }

  private async trainOn(request: TrainRequest): Promise<EpochOutcome> {
    if (this.rank === null) {
      this.rank = this.startRank();
      this.rank.onProgress = (progress) => this.wait?.listener(progress);
      void this.rank.gone.then(() => this.end());
      for (const action of this.early.splice(0)) this.rank.control(action);
    }
    if (!this.loaded) {
      await this.rank.start({
        type: 'start',
        version: 1,
        run: request.run,
        generation: request.grant.generation,
        holder: request.grant.members[0]!.queue,
        rank: request.grant.members[0]!.firstRank,
        worldSize: request.grant.worldSize,
        device: this.device,
        model: request.model.model,
        data: request.data,
      });
      this.loaded = true;
    }
    return await this.rank.train(request.epoch);
  }

  control(action: ControlMessage['action']): void {
    if (this.rank === null) this.early.push(action);
    else this.rank.control(action);
  }

  detach(): void {
    this.wait?.detach();
  }

  /** That listener is gone; without another one the slot is kept for a while. */
  orphan(listener: ProgressListener): void {
    if (this.wait?.listener === listener) this.wait.detach();
  }

  /** Commits where there is something to commit, and ends. Resolves when the device is free. */
  async makeWay(): Promise<void> {
    const { rank, epoch } = this;
    if (rank === null || epoch === null || epoch.settled) return await this.end();
    if (!this.loaded) {
      this.wait?.fail(
        ApplicationFailure.nonRetryable(
          'the host makes way before the run had loaded',
          failureTypes.leaseLost,
        ),
      );
      return await this.end();
    }
    rank.control('preempt');
    const timer = setTimeout(() => rank.kill(), preemptGrace);
    await epoch.outcome.catch(() => undefined);
    clearTimeout(timer);
    await this.end();
  }

  /** Ends the rank, by force when it is in the middle of an epoch, and frees the device. */
  end(): Promise<void> {
    this.ended ??= this.finish();
    return this.ended;
  }

  private async finish(): Promise<void> {
    this.rest(false);
    const { rank } = this;
    if (rank !== null) {
      if (this.epoch?.settled === true) await rank.exit();
      else rank.kill();
      await rank.gone;
    }
    this.onEnd(this);
  }

  private rest(idle: boolean): void {
    if (this.idle !== null) clearTimeout(this.idle);
    this.idle = idle && this.ended === null ? setTimeout(() => void this.makeWay(), idleLimit) : null;
  }

  /** Starts the time within which a run must begin to use the slot. */
  reserve(grant: Grant): void {
    this.grant = grant;
    this.rest(true);
  }
}
