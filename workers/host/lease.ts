/** One slot as one run holds it: the device, the generation, and the rank's process. */
import { ApplicationFailure } from '@temporalio/common';
import type { ProgressListener } from '../../activities/index.js';
import {
  type EpochOutcome,
  failureTypes,
  type Grant,
  noRequests,
  type RunReference,
  type RunRequests,
  type TrainRequest,
} from '../../contracts/index.js';
import type { RankProcess } from './rank_process.js';

/** ms within which a run must begin to use the slot that it was granted. */
const beginLimit = 60_000;
/** ms that a rank may take to commit when it is preempted. */
const preemptGrace = 120_000;

interface Epoch {
  number: number;
  outcome: Promise<EpochOutcome>;
  settled: boolean;
}

export class Lease {
  /** Present once the generation was taken. */
  grant: Grant | null = null;
  readonly run: RunReference;
  readonly device: string;
  readonly #startRank: () => RankProcess;
  readonly #onEnd: (lease: Lease, torn: boolean) => void;
  #rank: RankProcess | null = null;
  /** True once the rank has loaded, so that there may be something to commit. */
  #loaded = false;
  /** The epoch under way, or the last one: its outcome stays for a workflow that did not receive it. */
  #epoch: Epoch | null = null;
  /** The present `train`: who listens, and how its wait ends without ending the training. */
  #wait: { listener: ProgressListener; detach: () => void; fail: (error: unknown) => void } | null = null;
  /** The newest seen. */
  #requests: RunRequests = noRequests;
  #beginTimer: NodeJS.Timeout | null = null;
  #ended: Promise<boolean> | null = null;

  /**
   * @param startRank returns the rank's process, which nobody else uses
   * @param onEnd called once, with whether the rank's process is gone and the device free
   */
  constructor(
    run: RunReference,
    device: string,
    startRank: () => RankProcess,
    onEnd: (lease: Lease, torn: boolean) => void,
  ) {
    this.run = run;
    this.device = device;
    this.#startRank = startRank;
    this.#onEnd = onEnd;
  }

  get step(): number | null {
    return this.#rank?.progress?.step ?? null;
  }

  get began(): boolean {
    return this.#rank !== null;
  }

  /** True while a `trainEpoch` of its workflow waits for it. */
  get awaited(): boolean {
    return this.#wait !== null;
  }

  /** Resolves when the rank's process is gone. */
  get gone(): Promise<void> {
    return this.#rank?.gone ?? Promise.resolve();
  }

  /** Starts the time within which the run must begin to use the slot. Once it has, only an explicit end takes it away. */
  reserve(grant: Grant): void {
    this.grant = grant;
    this.#beginTimer = setTimeout(() => void this.end(), beginLimit);
  }

  /** See RankHost.train. A newer call takes over: the older one returns `detached`. */
  async train(request: TrainRequest, listener: ProgressListener): Promise<EpochOutcome | 'detached'> {
    this.#stopBeginTimer();
    this.#wait?.detach();
    const detached = new Promise<'detached'>((resolve, reject) => {
      this.#wait = { listener, detach: () => resolve('detached'), fail: reject };
    });
    const wait = this.#wait;
    if (this.#rank?.progress != null) listener(this.#rank.progress);
    this.request(request.requests);
    const epoch = this.#epoch?.number === request.epoch ? this.#epoch : this.#begin(request);
    try {
      const outcome = await Promise.race([epoch.outcome, detached]);
      if (outcome !== 'detached' && outcome.kind === 'preempted') await this.end();
      return outcome;
    } catch (error) {
      await this.end();
      throw error;
    } finally {
      if (this.#wait === wait) this.#wait = null;
    }
  }

  #begin(request: TrainRequest): Epoch {
    const epoch = { number: request.epoch, outcome: this.#trainOn(request), settled: false };
    const settle = () => {
      epoch.settled = true;
    };
    epoch.outcome.then(settle, settle);
    this.#epoch = epoch;
    return epoch;
  }

  async #trainOn({ run, grant, model, data, epoch }: TrainRequest): Promise<EpochOutcome> {
    if (this.#rank === null) {
      this.#rank = this.#startRank();
      this.#rank.onProgress = (progress) => this.#wait?.listener(progress);
      void this.#rank.gone.then(() => this.end());
    }
    if (!this.#loaded) {
      await this.#rank.start({
        type: 'start',
        version: 1,
        run,
        generation: grant.generation,
        worldSize: grant.worldSize,
        device: this.device,
        model: model.folder,
        data,
        requests: this.#requests,
      });
      this.#loaded = true;
    }
    return await this.#rank.train(epoch);
  }

  /** Applies requests unless newer ones have been. A rank that does not exist yet starts with them. */
  request(requests: RunRequests): void {
    if (requests.number <= this.#requests.number) return;
    this.#requests = requests;
    this.#rank?.request(requests);
  }

  detach(): void {
    this.#wait?.detach();
  }

  /** Drops a listener whose activity is gone; the rank continues to train. */
  orphan(listener: ProgressListener): void {
    if (this.#wait?.listener === listener) this.#wait.detach();
  }

  /** Commits where there is something to commit, and ends. Resolves when the device is free or quarantined. */
  async preempt(): Promise<void> {
    const [rank, epoch] = [this.#rank, this.#epoch];
    if (rank === null || epoch === null || epoch.settled) {
      await this.end();
      return;
    }
    if (!this.#loaded) {
      this.#wait?.fail(
        ApplicationFailure.nonRetryable('the run was preempted before it had loaded', failureTypes.leaseLost),
      );
      await this.end();
      return;
    }
    rank.preempt();
    const timer = setTimeout(() => void rank.kill(), preemptGrace);
    await epoch.outcome.catch(() => undefined);
    clearTimeout(timer);
    await this.end();
  }

  /**
   * Ends the rank, by force when it is in the middle of an epoch, and frees the device. Returns false when the rank's
   * process is still there after SIGKILL.
   */
  end(): Promise<boolean> {
    this.#ended ??= this.#finish();
    return this.#ended;
  }

  async #finish(): Promise<boolean> {
    this.#stopBeginTimer();
    const rank = this.#rank;
    let torn = true;
    if (rank !== null) torn = await (this.#epoch?.settled === true ? rank.exit() : rank.kill());
    this.#onEnd(this, torn);
    return torn;
  }

  #stopBeginTimer(): void {
    if (this.#beginTimer !== null) clearTimeout(this.#beginTimer);
    this.#beginTimer = null;
  }
}
