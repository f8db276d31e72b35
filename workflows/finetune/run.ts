/** One run as the workflow sees it: its state, its timeline, and the answer to its query. */
import {
  type ContinueAsNew,
  isCancellation,
  makeContinueAsNewFunc,
  workflowInfo,
} from '@temporalio/workflow';
import type { Progress, Resumed, RunRequests } from '../../contracts/gang.js';
import type { RunPhase, RunState, RunStatus } from '../../contracts/run_state.js';
import type { InterruptionEvent, TimelineEntry } from '../../contracts/timeline.js';
import { newBudget } from './budget.js';
import { control } from './control_activities.js';
import type { GangLoss } from './failures.js';
import { Timeline } from './timeline.js';
import { Visibility } from './visibility.js';

export class Run {
  readonly state: RunState;
  readonly #timeline: Timeline;
  readonly #visibility = new Visibility();

  constructor(carried: RunState | undefined) {
    this.state = carried ?? newState();
    this.#timeline = new Timeline(this.state, (entries) =>
      control.recordTimeline({
        version: 1,
        run: this.admitted.run,
        startedAt: this.state.startedAt,
        entries,
      }),
    );
  }

  get admitted() {
    return this.#admission.admitted;
  }

  /** See Admission. */
  get claim(): string {
    return this.#admission.claim;
  }

  get #admission() {
    const { admission } = this.state;
    if (admission === null) throw new TypeError('the run is not admitted yet');
    return admission;
  }

  enter(phase: RunPhase): void {
    this.state.phase = phase;
    this.show();
  }

  show(): void {
    this.#visibility.show(this.state);
  }

  /** Changes the run's requests. */
  request(change: Partial<RunRequests>): void {
    const { requests } = this.state;
    this.state.requests = { ...requests, ...change, number: requests.number + 1 };
  }

  /** Adds an entry to the timeline and returns its number. */
  record(event: TimelineEntry['event'], detail: string, more: Partial<TimelineEntry> = {}): number {
    const { grant, progress, outcome } = this.state;
    return this.#timeline.add({
      at: now(),
      event,
      generation: grant?.generation ?? null,
      step: newest(progress?.step, outcome?.step),
      detail,
      detectedAfter: null,
      capacityAfter: null,
      loadedAfter: null,
      firstStepAfter: null,
      stepsLost: null,
      exactness: null,
      ...more,
    });
  }

  /** Writes the timeline into the run's folder. A failure does not end the run: the next call tries again. */
  async writeTimeline(options: { all?: boolean } = {}): Promise<void> {
    try {
      await this.#timeline.flush(options);
    } catch (error) {
      if (isCancellation(error)) throw error;
    }
  }

  /** Takes a report of the gang that is held; an older gang's is ignored. */
  noteProgress(progress: Progress): void {
    if (progress.generation !== this.state.grant?.generation) return;
    this.state.progress = progress;
    this.noteCommit(progress.committedStep);
    this.resumed(progress.resumed);
  }

  /** Notes a new commit, which renews what the run survives. */
  noteCommit(step: number | null): void {
    if (step === null || step <= (this.state.committedStep ?? -1)) return;
    this.state.committedStep = step;
    this.state.budget = newBudget();
  }

  /** Notes that the gang was lost or gave up: the timeline gets an entry that the next generation completes. */
  interrupted(event: InterruptionEvent, loss: Pick<GangLoss, 'detail' | 'silentFor' | 'step'>): void {
    const step = newest(this.state.progress?.step, this.state.outcome?.step, loss.step ?? undefined);
    const entry = this.record(event, loss.detail, { step, detectedAfter: loss.silentFor });
    // The last steps of a lost host were never reported: only the generation that follows can say what was lost.
    this.state.interruption = { entry, noticedAt: now(), step: event === 'host_lost' ? null : step };
    this.state.comingUp = null;
    this.state.progress = null;
    this.state.grant = null;
  }

  /** Notes that a gang was granted, and how long that took, counted from the interruption if there was one. */
  granted(): void {
    const { grant, interruption, askedAt } = this.state;
    const capacityAfter = seconds(interruption?.noticedAt ?? askedAt ?? now(), now());
    const { worldSize, members } = grant!;
    const ranks = worldSize === 1 ? '1 rank' : `${worldSize} ranks`;
    const where = members.length === 1 ? members[0]!.host : `${members.length} hosts`;
    const granted = this.record('gang_granted', `${ranks} on ${where}`, { capacityAfter });
    if (interruption !== null) this.#timeline.complete(interruption.entry, { capacityAfter });
    this.state.comingUp = { granted, resumed: null, damageRecorded: false };
    this.state.askedAt = null;
  }

  /**
   * Notes that the held generation started: completes the entries that wait for it. Its first step comes in a later
   * call.
   */
  resumed({ fromStep, stepsLost, exactness, loadSeconds, firstStepSeconds, damage }: Resumed): void {
    const { comingUp, interruption } = this.state;
    if (comingUp === null) return;
    if (!comingUp.damageRecorded) this.recordDamage(damage);
    comingUp.damageRecorded = true;
    if (comingUp.resumed === null && exactness !== 'fresh')
      comingUp.resumed = this.record('resumed', `from step ${fromStep}`, { step: fromStep });
    const loaded = { loadedAfter: loadSeconds, firstStepAfter: firstStepSeconds };
    const lost = stepsLost ?? stepsBetween(fromStep, interruption?.step ?? null);
    this.#timeline.complete(comingUp.granted, loaded);
    for (const entry of [comingUp.resumed, interruption?.entry ?? null]) {
      if (entry !== null) this.#timeline.complete(entry, { ...loaded, stepsLost: lost, exactness });
    }
    if (firstStepSeconds !== null) this.cameUp();
  }

  /** Notes checkpoints that were passed over, a line for each damage. */
  recordDamage(damage: readonly string[]): void {
    if (damage.length > 0) this.record('checkpoint_damaged', damage.join('\n'));
  }

  /** Ends the entry of the generation's start: nothing more will be known of it. */
  cameUp(): void {
    this.state.comingUp = null;
    this.state.interruption = null;
  }

  /** Returns whether history is so long that the workflow should continue as a new one. */
  get historyIsLong(): boolean {
    return workflowInfo().continueAsNewSuggested;
  }

  /** Throws ContinueAsNew, which must reach the workflow's caller. */
  async continueAsNew(input: unknown): Promise<ContinueAsNew> {
    return await makeContinueAsNewFunc<(input: unknown, carried: RunState) => Promise<unknown>>()(
      input,
      this.state,
    );
  }

  status(): RunStatus {
    const { state } = this;
    return {
      version: 1,
      run: state.admission?.admitted.run.id ?? workflowInfo().workflowId,
      phase: state.phase,
      model: state.admission?.admitted.model ?? null,
      outputDir: state.admission?.admitted.run.outputDir ?? null,
      epochs: state.admission?.admitted.epochs ?? null,
      epoch: state.epoch,
      generation: state.grant?.generation ?? null,
      host: state.grant?.members[0]?.host ?? null,
      progress: state.progress,
      timeline: state.timeline,
      interruptions: state.interruptions,
    };
  }
}

function newState(): RunState {
  return {
    version: 1,
    phase: 'admitting',
    startedAt: now(),
    admission: null,
    data: null,
    model: null,
    epoch: 0,
    grant: null,
    outcome: null,
    progress: null,
    committedStep: null,
    budget: newBudget(),
    requests: { number: 0, paused: false, stopping: false, checkpoint: 0 },
    evaluation: null,
    timeline: [],
    timelineWritten: 0,
    interruptions: { preempted: 0, rank_lost: 0, host_lost: 0, error_retried: 0 },
    interruption: null,
    comingUp: null,
    askedAt: null,
  };
}

function newest(...steps: (number | undefined)[]): number | null {
  const reported = steps.filter((step) => step !== undefined);
  return reported.length === 0 ? null : Math.max(...reported);
}

/** Returns the steps done beyond the one that training went back to. */
function stepsBetween(from: number, done: number | null): number | null {
  return done === null ? null : Math.max(0, done - from);
}

/** Returns the workflow's own clock, which replays. */
export function now(): string {
  return new Date().toISOString();
}

/** Returns the seconds between two ISO times. */
export function seconds(from: string, to: string): number {
  return Math.max(0, (Date.parse(to) - Date.parse(from)) / 1000);
}
