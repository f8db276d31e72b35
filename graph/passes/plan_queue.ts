/**
 * A plan as it is queued: programs become instances of records, each with the instances that it comes after. What
 * `docs/plan-format.md` says about streams, events and micro-batches is said here once, for the race checker and for the
 * interpreter.
 */
import { GraphError } from '../ir/error.js';
import type { Plan, PlanRecord } from '../ir/plan.js';

/** One run of a program. */
export interface QueuedRun {
  program: string;
  /** True of the first micro-batch of its step; `last` of the last. */
  first: boolean;
  last: boolean;
  /** How often the program's loops run, by the name of the input slot that says so. */
  counts: Readonly<Record<string, number>>;
}

/** A record of a queued run. */
export interface Instance {
  /** Position in the order of queueing, from 0. */
  readonly index: number;
  readonly record: PlanRecord;
  /** Position of the record in the plan. */
  readonly at: number;
  /** Number of the run that it belongs to, from 0, and that run. */
  readonly runIndex: number;
  readonly run: QueuedRun;
  /** Indices of the instances that have ended before this one starts: the last of its stream, and signals waited for. */
  readonly after: readonly number[];
}

export class PlanQueue {
  readonly plan: Plan;
  readonly instances: Instance[] = [];
  /** Index of the newest instance of each stream. */
  readonly #lastOfStream = new Map<number, number>();
  /** Index of the instance that signaled an event last. */
  readonly #lastSignal = new Map<number, number>();
  #runs = 0;

  constructor(plan: Plan) {
    this.plan = plan;
  }

  /** Queues a run of a program and returns its instances, in list order. */
  queue(run: QueuedRun): Instance[] {
    const { plan } = this;
    const range = plan.programs[run.program];
    if (range === undefined) {
      throw new GraphError(
        `plan ${plan.name} has no program '${run.program}'; it has ${Object.keys(plan.programs).join(', ')}`,
      );
    }
    const runIndex = this.#runs++;
    const queued: Instance[] = [];
    for (const segment of plan.segments.slice(...range)) {
      const count = segment.loop === null ? 1 : this.#loopCount(segment.loop, run);
      for (let turn = 0; turn < count; turn++) {
        for (let at = segment.from; at < segment.to; at++) {
          const record = plan.records[at]!;
          if (record.when === 'first' ? run.first : record.when === 'last' ? run.last : true)
            queued.push(this.#append(record, at, runIndex, run));
        }
      }
    }
    return queued;
  }

  #loopCount({ count, max }: { count: number; max: number }, run: QueuedRun): number {
    const slot = this.plan.buffers[count]!.name;
    const turns = run.counts[slot];
    if (turns === undefined || !Number.isInteger(turns) || turns < 0 || turns > max) {
      throw new GraphError(
        `plan ${this.plan.name}, program '${run.program}': the loop count '${slot}' is ${turns}, should be a whole number from 0 to ${max}`,
      );
    }
    return turns;
  }

  #append(record: PlanRecord, at: number, runIndex: number, run: QueuedRun): Instance {
    const index = this.instances.length;
    const after = [
      this.#lastOfStream.get(record.stream),
      ...record.waits.map((e) => this.#lastSignal.get(e)),
    ];
    const instance: Instance = {
      index,
      record,
      at,
      runIndex,
      run,
      after: [...new Set(after.filter((earlier) => earlier !== undefined))],
    };
    this.instances.push(instance);
    this.#lastOfStream.set(record.stream, index);
    for (const event of record.signals) this.#lastSignal.set(event, index);
    return instance;
  }
}

/**
 * Returns the sequences of runs that a plan's step allows, long enough to show every pair of runs that may meet: `steps`
 * steps of one, two and three micro-batches, with each choice of the optional programs. A plan without a step may queue
 * its programs in any order: each after each.
 */
export function stepSequences(plan: Plan, steps = 2): QueuedRun[][] {
  const counts = loopMaxima(plan);
  const runOf = (program: string, first: boolean, last: boolean): QueuedRun => ({
    program,
    first,
    last,
    counts,
  });
  if (plan.step.length === 0) {
    const names = Object.keys(plan.programs);
    return names.flatMap((a) => names.map((b) => [runOf(a, true, true), runOf(b, true, true)]));
  }
  const micros = plan.step.some(({ repeat }) => repeat) ? [1, 2, 3] : [1];
  return micros.flatMap((count) =>
    choices(plan.step.filter(({ optional }) => optional)).map((left) => {
      const step = plan.step
        .filter((item) => !left.includes(item))
        .flatMap(({ program, repeat }) =>
          Array.from({ length: repeat ? count : 1 }, (_, i) =>
            runOf(program, i === 0, i === (repeat ? count : 1) - 1),
          ),
        );
      return Array.from({ length: steps }, () => step).flat();
    }),
  );
}

/** Every subset. */
function choices<T>(items: readonly T[]): T[][] {
  const [first, ...rest] = items;
  return first === undefined ? [[]] : choices(rest).flatMap((subset) => [subset, [first, ...subset]]);
}

/** Two turns of every loop, or as many as it may have: enough for its turns to meet each other. */
function loopMaxima(plan: Plan): Record<string, number> {
  return Object.fromEntries(
    plan.segments.flatMap(({ loop }) =>
      loop === null ? [] : [[plan.buffers[loop.count]!.name, Math.min(2, loop.max)]],
    ),
  );
}
