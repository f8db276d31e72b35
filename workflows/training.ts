/**
 * Step 3 of a run: a gang is acquired and trains epoch by epoch. When it is lost or preempted, a new one is acquired and
 * goes on from the newest commit. Preemptions and lost hosts have no budget; errors have one, which a new commit renews.
 */
import {
  ActivityCancellationType,
  allHandlersFinished,
  CancellationScope,
  condition,
  isCancellation,
  proxyActivities,
  sleep,
} from '@temporalio/workflow';
import type { GangActivities, HostLost, PoolActivities, TrainOutcome } from '../contracts/activities.js';
import type { ControlMessage, EpochOutcome, Grant, Progress } from '../contracts/gang.js';
import { poolQueue } from '../contracts/names.js';
import { classifyLoss, type GangLoss } from './failures.js';
import { now, type Run } from './run.js';
import { steps } from './steps.js';

/** Errors in a row that a run survives without a new commit in between. */
const errorBudget = 3;

type Ending = TrainOutcome | { kind: 'lost'; loss: GangLoss; error: unknown };

/** Not the SDK's Trigger: that one rejects when the run is cancelled, and nobody would wait for the gang to commit. */
class HostLoss {
  report!: (lost: HostLost) => void;
  readonly reported = new Promise<HostLost>((resolve) => {
    this.report = resolve;
  });
}

export class Training {
  /** News of the death of the host that holds the present grant. */
  private hostLoss = new HostLoss();
  private detaching = false;
  /** The wishes that were passed on so far. */
  private delivered: Promise<void> = Promise.resolve();

  constructor(
    private readonly run: Run,
    private readonly input: unknown,
  ) {}

  /** Trains until the run is finished or stopped. Throws what ends the run, ContinueAsNew among it. */
  async train(): Promise<void> {
    const { state } = this.run;
    while (!this.isDone()) {
      if (this.run.historyIsLong) {
        await condition(allHandlersFinished);
        await this.run.continueAsNew(this.input);
      }
      if (state.grant === null) {
        if (state.paused) this.run.enter('paused');
        await condition(() => !state.paused || state.stopping);
        await this.acquire();
      }
      await this.handle(await this.driveGang(state.grant!));
    }
    await this.release();
  }

  private isDone(): boolean {
    const { epoch, outcome, stopping, committedStep, grant } = this.run.state;
    if (outcome?.kind === 'finished' || outcome?.kind === 'stopped') return true;
    if (stopping && committedStep !== null && grant === null) return true;
    return epoch >= this.run.admitted.epochs;
  }

  private async acquire(): Promise<void> {
    const { run } = this;
    const { pool } = run.admitted;
    run.state.askedAt = now();
    run.enter('waiting');
    const { acquire } = proxyActivities<PoolActivities>({
      taskQueue: poolQueue(pool),
      summary: `a slot of pool ${pool}`,
      startToCloseTimeout: '30 seconds',
      retry: { initialInterval: '1 second', backoffCoefficient: 1.5, maximumInterval: '10 seconds' },
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    });
    run.state.grant = await acquire(run.admitted.run);
    this.hostLoss = new HostLoss();
    run.granted();
    if (run.state.stopping) await this.deliver('stop');
  }

  /** One `trainEpoch` on the gang that is held, raced against the news that its host is dead. */
  private async driveGang(grant: Grant): Promise<Ending> {
    const { run } = this;
    const { state } = run;
    this.detaching = false;
    run.enter(state.paused ? 'paused' : 'training');
    const scope = new CancellationScope();
    const trained = scope
      .run(() => this.trainEpoch(grant))
      .then(
        (outcome): Ending => outcome,
        (error: unknown): Ending => ({ kind: 'lost', loss: classifyLoss(error), error }),
      );
    const buried = this.hostLoss.reported.then((lost): Ending => {
      // Nobody is left to confirm the cancellation, so nobody waits for it.
      scope.cancel();
      const { detail, aliveAt, step } = lost;
      return {
        kind: 'lost',
        loss: { kind: 'host_lost', detail, aliveAt, step, progress: null },
        error: null,
      };
    });
    return await Promise.race([trained, buried]);
  }

  private trainEpoch(grant: Grant): Promise<TrainOutcome> {
    const { state, admitted } = this.run;
    const { trainEpoch } = proxyActivities<GangActivities>({
      taskQueue: grant.members[0]!.queue,
      summary: `epoch ${state.epoch + 1} of ${admitted.epochs}, generation ${grant.generation}`,
      scheduleToStartTimeout: '30 seconds',
      startToCloseTimeout: '365 days',
      // The host sees the death of a rank at once; this is for the loss of the host, and outlasts a blip of the server.
      heartbeatTimeout: '60 seconds',
      retry: { maximumAttempts: 1 },
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    });
    return trainEpoch({
      version: 1,
      run: admitted.run,
      grant,
      model: state.model!,
      data: state.data!,
      epoch: state.epoch,
    });
  }

  private async handle(ending: Ending): Promise<void> {
    if (ending.kind === 'ended') {
      this.takeOutcome(ending.outcome);
      await this.evaluateEpoch(ending.outcome);
    } else if (ending.kind === 'lost') await this.takeLoss(ending.loss, ending.error);
  }

  private takeOutcome(outcome: EpochOutcome): void {
    const { run } = this;
    run.state.outcome = outcome;
    const { step, epoch, loss } = outcome;
    if (run.state.progress !== null) Object.assign(run.state.progress, { step, epoch, loss });
    if (outcome.commit !== null) run.noteCommit(outcome.step);
    if (outcome.resumed !== null) run.resumed(outcome.resumed);
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
        run.interrupted('preempted', { detail: outcome.reason, aliveAt: null, step: outcome.step });
        break;
    }
    run.show();
  }

  /** Tasks on the commit of the epoch that has just ended; they may end the training. The gang is held meanwhile. */
  private async evaluateEpoch({ kind, step }: EpochOutcome): Promise<void> {
    const { run } = this;
    if (!run.admitted.evaluatesEpochs || (kind !== 'epoch' && kind !== 'finished')) return;
    run.enter('evaluating');
    const { evaluateEpoch } = steps(run.admitted.pool, `epoch ${run.state.epoch} of ${run.admitted.epochs}`);
    const finished = kind === 'finished';
    const request = { version: 1, run: run.admitted.run, model: run.state.model!, step, finished } as const;
    const { scores, stop } = await evaluateEpoch(request);
    const shown = Object.entries(scores).map(
      ([metric, value]) => `${metric} ${Number(value.toPrecision(4))}`,
    );
    if (shown.length > 0) run.record('evaluated', shown.join(', '), { step });
    if (stop !== null && !finished) {
      run.record('stopped', stop, { step });
      run.state.outcome = { ...run.state.outcome!, kind: 'finished', reason: stop };
    }
  }

  private async takeLoss(loss: GangLoss, error: unknown): Promise<void> {
    const { run } = this;
    if (loss.progress !== null) run.noteProgress(loss.progress);
    switch (loss.kind) {
      case 'silent':
        // The gang may well have trained on while Temporal was away: the next round takes it up where it is, or finds
        // that nobody serves the host's queue.
        return;
      case 'host_lost':
        run.interrupted('host_lost', loss);
        return;
      case 'unavailable':
        await this.release({ keepGrant: true });
        run.interrupted('error_retried', loss);
        await sleep('15 seconds');
        return;
      case 'fatal':
        await this.release();
        throw error;
      case 'rank_lost':
      case 'error': {
        const errors = this.countError();
        if (errors > errorBudget) {
          await this.release();
          throw error;
        }
        await this.release({ keepGrant: true });
        run.interrupted(loss.kind === 'rank_lost' ? 'rank_lost' : 'error_retried', loss);
        if (errors > 1) await sleep(1000 * 2 ** (errors - 1));
      }
    }
  }

  /** Errors since the newest commit grew, this one included. */
  private countError(): number {
    const { errors, committedStep } = this.run.state;
    if (committedStep !== errors.committedStep) Object.assign(errors, { count: 0, committedStep });
    errors.count += 1;
    return errors.count;
  }

  /** Gives the gang back, however the run ends; also when it is being cancelled. */
  async release({ keepGrant = false } = {}): Promise<void> {
    const { grant } = this.run.state;
    if (grant === null) return;
    await CancellationScope.nonCancellable(async () => {
      try {
        await this.gang(grant).release(grant);
      } catch {
        // A host that cannot be reached has nothing to give back, or frees the slot by itself.
      }
    });
    if (!keepGrant) this.run.state.grant = null;
  }

  /** Short activities on the host's queue. */
  private gang(grant: Grant) {
    return proxyActivities<GangActivities>({
      taskQueue: grant.members[0]!.queue,
      startToCloseTimeout: '10 seconds',
      scheduleToCloseTimeout: '20 seconds',
      retry: { maximumAttempts: 3 },
      cancellationType: ActivityCancellationType.TRY_CANCEL,
    });
  }

  /** Passes a person's wish to the gang that is held, in the order in which they came: a resume never overtakes a pause. */
  deliver(action: ControlMessage['action']): Promise<void> {
    const delivered = this.delivered.then(() => this.send(action));
    this.delivered = delivered.catch(() => undefined);
    return delivered;
  }

  /** A gang that is lost meanwhile is the loop's business. */
  private async send(action: ControlMessage['action']): Promise<void> {
    const { grant } = this.run.state;
    if (grant === null) return;
    try {
      await this.gang(grant).control({ version: 1, run: this.run.admitted.run.run, action });
    } catch (error) {
      if (isCancellation(error)) throw error;
    }
  }

  /** A report of the gang. In a history grown long it also has the gang detach, so that the run can continue as new. */
  async report(progress: Progress): Promise<void> {
    const { run } = this;
    run.noteProgress(progress);
    run.show();
    const { grant } = run.state;
    if (grant === null || this.detaching || !run.historyIsLong) return;
    this.detaching = true;
    try {
      await this.gang(grant).detach(grant);
    } catch (error) {
      if (isCancellation(error)) throw error;
      this.detaching = false;
    }
  }

  /** The host worker of that queue is proven dead. */
  buried(lost: HostLost): void {
    const { grant } = this.run.state;
    if (grant === null || !grant.members.some((member) => member.queue === lost.queue)) return;
    this.hostLoss.report(lost);
  }
}
