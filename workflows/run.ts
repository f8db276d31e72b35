/** One run as the workflow sees it: its state, its timeline, and what is told to whoever asks. */
import { type ContinueAsNew, makeContinueAsNewFunc, workflowInfo } from '@temporalio/workflow';
import type { EpochOutcome, Progress } from '../contracts/gang.js';
import type { RunPhase, RunState, RunStatus } from '../contracts/run_state.js';
import type { TimelineEntry } from '../contracts/timeline.js';
import type { GangLoss } from './failures.js';
import { Visibility } from './visibility.js';

export class Run {
  readonly state: RunState;
  private readonly visibility = new Visibility();

  constructor(carried: RunState | undefined) {
    this.state = carried ?? newState();
  }

  get admitted() {
    const { admission } = this.state;
    if (admission === null) throw new TypeError('the run is not admitted yet');
    return admission.admitted;
  }

  enter(phase: RunPhase): void {
    this.state.phase = phase;
    this.show();
  }

  show(): void {
    this.visibility.show(this.state);
  }

  /** Adds an entry to the timeline and returns its index. */
  record(event: TimelineEntry['event'], detail: string, more: Partial<TimelineEntry> = {}): number {
    const { grant, progress, outcome } = this.state;
    return (
      this.state.timeline.push({
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
      }) - 1
    );
  }

  /** Takes a report of the gang that is held; an older gang's is ignored. */
  noteProgress(progress: Progress): void {
    if (progress.generation !== this.state.grant?.generation) return;
    this.state.progress = progress;
    this.noteCommit(progress.committedStep);
  }

  noteCommit(step: number | null): void {
    if (step !== null && step > (this.state.committedStep ?? -1)) this.state.committedStep = step;
  }

  /** The gang was lost or gave up: the timeline gets an entry that the next generation completes. */
  interrupted(
    event: 'preempted' | 'rank_lost' | 'host_lost' | 'error_retried',
    loss: Pick<GangLoss, 'detail' | 'aliveAt' | 'step'>,
  ): void {
    const noticedAt = now();
    const step = newest(this.state.progress?.step, this.state.outcome?.step, loss.step ?? undefined);
    const entry = this.record(event, loss.detail, {
      step,
      detectedAfter: loss.aliveAt === null ? null : seconds(loss.aliveAt, noticedAt),
    });
    // A dead host's last steps were never told: only the generation that follows can say what was lost.
    this.state.interruption = { entry, noticedAt, step: event === 'host_lost' ? null : step };
    this.state.progress = null;
    this.state.grant = null;
  }

  /** A gang was granted: how long that took, counted from the interruption where there was one. */
  granted(): void {
    const { grant, interruption, askedAt } = this.state;
    const capacityAfter = seconds(interruption?.noticedAt ?? askedAt ?? now(), now());
    this.record('gang_granted', grant!.members.map((member) => member.queue).join(', '), { capacityAfter });
    if (interruption !== null) this.state.timeline[interruption.entry]!.capacityAfter = capacityAfter;
  }

  /** A generation came up: completes the interruption's entry. */
  resumed(resumed: NonNullable<EpochOutcome['resumed']>): void {
    const { interruption } = this.state;
    const known = {
      loadedAfter: resumed.loadSeconds,
      firstStepAfter: resumed.firstStepSeconds,
      stepsLost: resumed.stepsLost ?? stepsBetween(resumed.fromStep, interruption?.step ?? null),
      exactness: resumed.exactness,
    };
    if (interruption !== null) {
      Object.assign(this.state.timeline[interruption.entry]!, known);
      this.state.interruption = null;
    }
    const granted = this.state.timeline.findLast(({ event }) => event === 'gang_granted');
    if (granted !== undefined) {
      granted.loadedAfter = resumed.loadSeconds;
      granted.firstStepAfter = resumed.firstStepSeconds;
    }
    // Histories from before damage was reported lack the field.
    const damage: readonly string[] = resumed.damage ?? [];
    if (damage.length > 0) this.record('checkpoint_damaged', damage.join('\n'));
    if (resumed.exactness === 'fresh') return;
    this.record('resumed', `from step ${resumed.fromStep}`, { step: resumed.fromStep, ...known });
  }

  /** Whether history is so long that the workflow had better go on in a new one. */
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
      run: state.admission?.admitted.run.run ?? workflowInfo().workflowId,
      phase: state.phase,
      model: state.admission?.admitted.model ?? null,
      outputDir: state.admission?.admitted.run.outputDir ?? null,
      epochs: state.admission?.admitted.epochs ?? null,
      epoch: state.epoch,
      generation: state.grant?.generation ?? null,
      host: state.grant?.members[0]?.host ?? null,
      progress: state.progress,
      timeline: state.timeline,
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
    errors: { count: 0, committedStep: null },
    paused: false,
    stopping: false,
    evaluation: null,
    timeline: [],
    interruption: null,
    askedAt: null,
  };
}

function newest(...steps: (number | undefined)[]): number | null {
  const known = steps.filter((step) => step !== undefined);
  return known.length === 0 ? null : Math.max(...known);
}

/** Steps done beyond the one that was gone back to. */
function stepsBetween(from: number, done: number | null): number | null {
  return done === null ? null : Math.max(0, done - from);
}

/** The workflow's own clock, which replays. */
export function now(): string {
  return new Date().toISOString();
}

/** Seconds between two ISO times. */
export function seconds(from: string, to: string): number {
  return Math.max(0, (Date.parse(to) - Date.parse(from)) / 1000);
}
