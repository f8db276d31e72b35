/**
 * Step 3 of a run: a gang is acquired and trains epoch by epoch. When it is lost or preempted, a new one is acquired and
 * resumes from the newest commit. `budget.ts` says what a run survives.
 */
import {
  ActivityCancellationType,
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  sleep,
} from '@temporalio/workflow';
import type { GangActivities, HostLost, PoolActivities, TrainOutcome } from '../../contracts/activities.js';
import type { EpochOutcome, Grant, Progress } from '../../contracts/gang.js';
import { failureTypes, poolQueue } from '../../contracts/names.js';
import { avoidHosts, diagnoseRankCrashes, hostsToAvoid, pauseUncounted, spend } from './budget.js';
import { classifyLoss, type GangLoss } from './failures.js';
import { now, type Run } from './run.js';
import { runStep, survive } from './steps.js';

/** Longest pause before requests are delivered again, in ms. */
const longestPause = 30_000;

type Ending = TrainOutcome | { kind: 'lost'; loss: GangLoss; error: unknown };

/** Not the SDK's Trigger: that one rejects when the run is cancelled, and nobody would wait for the gang to commit. */
class HostLoss {
  report!: (loss: HostLost) => void;
  readonly reported = new Promise<HostLost>((resolve) => {
    this.report = resolve;
  });
}

export class Training {
  readonly #run: Run;
  readonly #input: unknown;
  /** Resolves when the host that holds the present grant is reported lost. */
  #hostLoss = new HostLoss();
  #detaching = false;
  #delivering = false;
  /** Highest number of the requests that the present gang has or is being given by its `trainEpoch`. */
  #delivered = 0;

  constructor(run: Run, input: unknown) {
    this.#run = run;
    this.#input = input;
  }

  /** Trains until the run is finished or stopped. @throws whatever ends the run, including ContinueAsNew */
  async train(): Promise<void> {
    const run = this.#run;
    const { state } = run;
    while (!this.#isDone()) {
      await run.writeTimeline();
      if (run.historyIsLong) {
        await condition(allHandlersFinished);
        await run.continueAsNew(this.#input);
      }
      if (state.grant === null) {
        if (state.requests.paused) run.enter('paused');
        await condition(() => !state.requests.paused);
        await this.#acquire();
      } else await this.#handle(await this.#driveGang(state.grant));
    }
    await this.release();
  }

  #isDone(): boolean {
    const { epoch, outcome, requests, committedStep, grant } = this.#run.state;
    if (outcome?.kind === 'finished' || outcome?.kind === 'stopped') return true;
    if (requests.stopping && committedStep !== null && grant === null) return true;
    return epoch >= this.#run.admitted.epochs;
  }

  /** Asks once for a gang. A failure that the run survives leaves it without one. */
  async #acquire(): Promise<void> {
    const run = this.#run;
    const { pool } = run.admitted;
    run.state.askedAt ??= now();
    run.enter('waiting');
    const { acquire } = proxyActivities<PoolActivities>({
      taskQueue: poolQueue(pool),
      summary: `a slot in pool ${pool}`,
      startToCloseTimeout: '30 seconds',
      retry: { maximumAttempts: 1 },
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    });
    const avoid = hostsToAvoid(run.state.budget);
    try {
      run.state.grant = await acquire({ version: 1, run: run.admitted.run, avoid });
    } catch (error) {
      return await survive(run, error);
    }
    this.#hostLoss = new HostLoss();
    this.#delivered = 0;
    run.granted();
  }

  /** Runs one `trainEpoch` on the held gang, raced against the report that its host is lost. */
  async #driveGang(grant: Grant): Promise<Ending> {
    const run = this.#run;
    this.#detaching = false;
    run.enter(run.state.requests.paused ? 'paused' : 'training');
    const scope = new CancellationScope();
    const trained = scope
      .run(() => this.#trainEpoch(grant))
      .then(
        (outcome): Ending => outcome,
        (error: unknown): Ending => ({ kind: 'lost', loss: classifyLoss(error), error }),
      );
    const lost = this.#hostLoss.reported.then(({ detail, silentFor, step }): Ending => {
      // Nobody is left to confirm the cancellation, so nobody waits for it.
      scope.cancel();
      const loss = { kind: 'host_lost', cause: 'process', detail, silentFor, step } as const;
      return { kind: 'lost', loss: { ...loss, progress: null, ended: null }, error: null };
    });
    return await Promise.race([trained, lost]);
  }

  #trainEpoch(grant: Grant): Promise<TrainOutcome> {
    const { state, admitted, claim } = this.#run;
    const { trainEpoch } = proxyActivities<GangActivities>({
      taskQueue: grant.members[0]!.queue,
      summary: `epoch ${state.epoch + 1} of ${admitted.epochs}, generation ${grant.generation}`,
      scheduleToStartTimeout: '30 seconds',
      startToCloseTimeout: '365 days',
      // The host sees the end of a rank at once; this is for the loss of the host, and outlasts a blip of the server.
      heartbeatTimeout: '60 seconds',
      retry: { maximumAttempts: 1 },
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    });
    this.#delivered = state.requests.number;
    return trainEpoch({
      version: 1,
      run: admitted.run,
      grant,
      model: state.model!,
      data: state.data!,
      epoch: state.epoch,
      requests: state.requests,
      claim,
    });
  }

  async #handle(ending: Ending): Promise<void> {
    if (ending.kind === 'ended') {
      this.#takeOutcome(ending.outcome);
      await this.#evaluateEpoch(ending.outcome);
    } else if (ending.kind === 'lost') await this.#takeLoss(ending.loss, ending.error);
  }

  #takeOutcome(outcome: EpochOutcome): void {
    const run = this.#run;
    run.state.outcome = outcome;
    const { step, epoch, loss } = outcome;
    if (run.state.progress !== null) Object.assign(run.state.progress, { step, epoch, loss });
    if (outcome.commit !== null) run.noteCommit(outcome.step);
    run.resumed(outcome.resumed);
    run.cameUp();
    switch (outcome.kind) {
      case 'epoch':
      case 'finished':
        run.state.epoch += 1;
        run.record('epoch_finished', outcome.reason, { step: outcome.step });
        break;
      case 'stopped':
        run.record('stopped', outcome.reason, { step: outcome.step });
        break;
      case 'preempted':
        // The gang gave its slot back when it stopped.
        run.interrupted('preempted', { detail: outcome.reason, silentFor: null, step: outcome.step });
        break;
    }
    run.show();
  }

  /**
   * Evaluates tasks on the commit of the epoch that has just ended; they may end the training. The gang is held
   * meanwhile.
   */
  async #evaluateEpoch({ kind, step }: EpochOutcome): Promise<void> {
    const run = this.#run;
    if (!run.admitted.evaluatesEpochs || (kind !== 'epoch' && kind !== 'finished')) return;
    run.enter('evaluating');
    const finished = kind === 'finished';
    const request = { version: 1, run: run.admitted.run, model: run.state.model!, step, finished } as const;
    const summary = `epoch ${run.state.epoch} of ${run.admitted.epochs}`;
    const { scores, stop, damage } = await runStep(run, summary, (steps) => steps.evaluateEpoch(request));
    const scoreTexts = Object.entries(scores).map(
      ([metric, value]) => `${metric} ${Number(value.toPrecision(4))}`,
    );
    if (scoreTexts.length > 0) run.record('evaluated', scoreTexts.join(', '), { step });
    run.recordDamage(damage);
    if (stop !== null && !finished) {
      run.record('stopped', stop, { step });
      run.state.outcome = { ...run.state.outcome!, kind: 'finished', reason: stop };
    }
  }

  async #takeLoss(loss: GangLoss, error: unknown): Promise<void> {
    const run = this.#run;
    if (loss.progress !== null) run.noteProgress(loss.progress);
    switch (loss.kind) {
      case 'silent':
        // The gang may well have trained on while Temporal was away: the next round takes it up where it is, or finds
        // that nobody serves the host's queue.
        return;
      case 'host_lost':
        this.#avoidGang();
        run.interrupted('host_lost', loss);
        await pause(pauseUncounted(run.state.budget));
        return;
      case 'fatal':
        await this.release();
        throw error;
      case 'rank_lost': {
        const { budget, grant, progress } = run.state;
        const { host } = grant!.members[0]!;
        if (loss.ended !== null)
          budget.rankCrashes.push({ host, step: progress?.step ?? null, ended: loss.ended });
        return await this.#survive('rank_lost', loss, error);
      }
      case 'peer_lost':
        return await this.#survive('rank_lost', loss, error);
      case 'error':
        return await this.#survive('error_retried', loss, error);
    }
  }

  /** Gives the gang back and pauses before the next one; throws where the budget for that is spent. */
  async #survive(event: 'rank_lost' | 'error_retried', loss: GangLoss, error: unknown): Promise<void> {
    const run = this.#run;
    const { budget } = run.state;
    const milliseconds = this.#count(loss);
    const torn = await this.release({ keepGrant: true });
    const detail = torn
      ? loss.detail
      : `${loss.detail}; its process is still running, so its slot is quarantined`;
    if (milliseconds === null) {
      run.state.grant = null;
      throw diagnosed(error, diagnoseRankCrashes(budget));
    }
    run.interrupted(event, { ...loss, detail });
    await pause(milliseconds);
  }

  /** Counts a loss and returns the pause before the next gang in ms, or null when the budget is spent. */
  #count({ kind, cause }: GangLoss): number | null {
    const { budget } = this.#run.state;
    // The ranks that report it are not to blame, nor are their hosts.
    if (kind === 'peer_lost') return pauseUncounted(budget);
    // A host on which processes fail is asked last.
    if (cause === 'process') this.#avoidGang();
    // A run that has trained waits for a service however long it is away.
    if (cause === 'service') return 15_000;
    const milliseconds = spend(budget, cause);
    // The first lost rank is replaced without a pause.
    return kind === 'rank_lost' && budget.process === 1 ? 0 : milliseconds;
  }

  #avoidGang(): void {
    const { budget, grant } = this.#run.state;
    avoidHosts(budget, grant?.members.map(({ queue }) => queue) ?? []);
  }

  /**
   * Gives the gang back, however the run ends; also when it is being cancelled. Returns false where a rank's process is
   * still there.
   */
  async release({ keepGrant = false } = {}): Promise<boolean> {
    const { state } = this.#run;
    const { grant } = state;
    if (grant === null) return true;
    const torn = await CancellationScope.nonCancellable(async () => {
      try {
        return (await this.#gang(grant).release(grant)).torn;
      } catch {
        // A host that cannot be reached has nothing to give back, or frees the slot by itself.
        return true;
      }
    });
    if (!keepGrant) state.grant = null;
    return torn;
  }

  /** Returns the short activities on the host's queue. */
  #gang(grant: Grant) {
    return proxyActivities<GangActivities>({
      taskQueue: grant.members[0]!.queue,
      startToCloseTimeout: '30 seconds',
      scheduleToCloseTimeout: '40 seconds',
      retry: { maximumAttempts: 3 },
      cancellationType: ActivityCancellationType.TRY_CANCEL,
    });
  }

  /**
   * Brings the newest requests to the gang that is held, and tries until its host has acknowledged them or the grant ends.
   * Without a gang nothing needs to be done: the next `trainEpoch` brings them.
   */
  deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    void this.#deliver()
      .catch(() => undefined) // the run is being cancelled
      .finally(() => {
        this.#delivering = false;
      });
  }

  async #deliver(): Promise<void> {
    const { state } = this.#run;
    for (let failures = 0; state.grant !== null && this.#delivered < state.requests.number; ) {
      const { grant, requests } = state;
      try {
        await this.#gang(grant).control({ version: 1, grant, requests });
        if (state.grant === grant) this.#delivered = Math.max(this.#delivered, requests.number);
        failures = 0;
      } catch (error) {
        if (isCancellation(error)) throw error;
        failures += 1;
        await sleep(Math.min(longestPause, 1000 * 2 ** (failures - 1)));
      }
    }
  }

  /** Takes a report of the gang. In a history grown long it also has the gang detach, so that the run can continue as new. */
  async report(progress: Progress): Promise<void> {
    const run = this.#run;
    run.noteProgress(progress);
    run.show();
    const { grant } = run.state;
    if (grant === null || this.#detaching || !run.historyIsLong) return;
    this.#detaching = true;
    try {
      await this.#gang(grant).detach(grant);
    } catch (error) {
      if (isCancellation(error)) throw error;
      this.#detaching = false;
    }
  }

  /** Notes that the host worker of that queue is proven to be gone. */
  noteHostLoss(loss: HostLost): void {
    const { grant } = this.#run.state;
    if (grant === null || !grant.members.some((member) => member.queue === loss.queue)) return;
    this.#hostLoss.report(loss);
  }
}

async function pause(milliseconds: number): Promise<void> {
  if (milliseconds > 0) await sleep(milliseconds);
}

/** Returns the failure of an activity with a diagnosis in its message. */
function diagnosed(error: unknown, diagnosis: string): unknown {
  if (diagnosis === '' || !(error instanceof Error) || !(error.cause instanceof ApplicationFailure))
    return error;
  return ApplicationFailure.nonRetryable(`${error.cause.message}${diagnosis}`, failureTypes.rankLost);
}
