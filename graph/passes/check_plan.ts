/**
 * Proves of a plan that it computes the same however its streams are interleaved: over every order of runs that its step
 * allows, any two records that touch the same bytes, one of them writing, are ordered by streams and events; and no
 * record reads bytes of the arena that its run has not written. Vector clocks (Fidge 1988): the clock of an instance
 * has, for each stream, how many of that stream's instances have ended before it starts.
 */
import { GraphError } from '../ir/error.js';
import { type Plan, streams } from '../ir/plan.js';
import { type CellRange, PlanCells } from './plan_cells.js';
import { accesses, extentOf } from './plan_memory.js';
import { type Instance, PlanQueue, type QueuedRun, stepSequences } from './plan_queue.js';

/** @throws GraphError that names the first two records that race, or the first that reads what nobody wrote */
export function checkPlan(plan: Plan): void {
  const cells = new PlanCells(plan);
  for (const runs of stepSequences(plan)) new SequenceCheck(plan, cells).check(runs);
}

const streamCount = Object.keys(streams).length;

/** One sequence of runs. Tables have a row of `streamCount` for each instance, or for each cell. */
class SequenceCheck {
  readonly #plan: Plan;
  readonly #cells: PlanCells;
  readonly #queue: PlanQueue;
  /** Newest instance of each stream that read, and that wrote, a cell; −1 for none. */
  readonly #reads: Int32Array;
  readonly #writes: Int32Array;
  /** The run that wrote a cell last, which decides whether a run may read the arena there. */
  readonly #writtenBy: Int32Array;
  /** Position of each instance in its stream. */
  #positions = new Int32Array(0);
  #clocks = new Int32Array(0);

  constructor(plan: Plan, cells: PlanCells) {
    this.#plan = plan;
    this.#cells = cells;
    this.#queue = new PlanQueue(plan);
    this.#reads = new Int32Array(cells.count * streamCount).fill(-1);
    this.#writes = new Int32Array(cells.count * streamCount).fill(-1);
    this.#writtenBy = new Int32Array(cells.count).fill(-1);
  }

  check(runs: readonly QueuedRun[]): void {
    for (const run of runs) this.#queue.queue(run);
    const { instances } = this.#queue;
    this.#positions = new Int32Array(instances.length);
    this.#clocks = new Int32Array(instances.length * streamCount);
    const lengths = new Int32Array(streamCount);
    for (const instance of instances) {
      this.#positions[instance.index] = lengths[instance.record.stream]!++;
      this.#setClock(instance);
      const { reads, writes } = this.#cells.touchedBy(instance);
      for (const range of reads) this.#read(instance, range);
      for (const range of writes) this.#write(instance, range);
    }
  }

  #setClock({ index, after }: Instance): void {
    const row = index * streamCount;
    const raise = (stream: number, ended: number) => {
      this.#clocks[row + stream] = Math.max(this.#clocks[row + stream]!, ended);
    };
    for (const earlier of after) {
      for (let stream = 0; stream < streamCount; stream++)
        raise(stream, this.#clocks[earlier * streamCount + stream]!);
      raise(this.#queue.instances[earlier]!.record.stream, this.#positions[earlier]! + 1);
    }
  }

  #read(instance: Instance, { from, to, buffer, space }: CellRange): void {
    for (let cell = from; cell < to; cell++) {
      if (space === 'arena' && this.#writtenBy[cell] !== instance.runIndex) {
        throw new GraphError(
          `plan ${this.#plan.name}: ${describe(instance)} reads ${this.#plan.buffers[buffer]!.name}, which nothing in its run has written`,
        );
      }
      if (!this.#cells.isShared(cell)) continue;
      this.#requireAfter(instance, this.#writes, cell, space);
      this.#reads[cell * streamCount + instance.record.stream] = instance.index;
    }
  }

  #write(instance: Instance, { from, to, space }: CellRange): void {
    this.#writtenBy.fill(instance.runIndex, from, to);
    for (let cell = from; cell < to; cell++) {
      if (!this.#cells.isShared(cell)) continue;
      this.#requireAfter(instance, this.#writes, cell, space);
      this.#requireAfter(instance, this.#reads, cell, space);
      this.#writes[cell * streamCount + instance.record.stream] = instance.index;
    }
  }

  /** Requires that the newest accesses of a cell on other streams have ended before the instance starts. */
  #requireAfter(instance: Instance, newest: Int32Array, cell: number, space: CellRange['space']): void {
    for (let stream = 0; stream < streamCount; stream++) {
      const earlier = newest[cell * streamCount + stream]!;
      if (earlier < 0 || stream === instance.record.stream) continue;
      if (this.#clocks[instance.index * streamCount + stream]! > this.#positions[earlier]!) continue;
      const other = this.#queue.instances[earlier]!;
      // Only its own run touches a slot.
      if ((space === 'input' || space === 'output') && other.runIndex !== instance.runIndex) continue;
      throw race(this.#plan, other, instance);
    }
  }
}

const describe = ({ at, record, run, runIndex }: Instance): string =>
  `record ${at} (${record.op}, stream ${record.stream}) of run ${runIndex} of '${run.program}'`;

function race(plan: Plan, a: Instance, b: Instance): GraphError {
  const shared = sharedBuffers(plan, a, b);
  return new GraphError(
    `plan ${plan.name}: ${describe(a)} and ${describe(b)} both touch ${shared}, one of them writing, and nothing orders them`,
  );
}

function sharedBuffers(plan: Plan, a: Instance, b: Instance): string {
  const touched = ({ record, run }: Instance) => {
    const { reads, writes } = accesses(record, run);
    return [...new Set([...reads, ...writes])];
  };
  for (const i of touched(a)) {
    for (const j of touched(b)) {
      const [x, y] = [extentOf(plan, i, a.runIndex), extentOf(plan, j, b.runIndex)];
      if (x.memory === y.memory && x.start < y.end && y.start < x.end)
        return i === j
          ? `'${plan.buffers[i]!.name}'`
          : `'${plan.buffers[i]!.name}' and '${plan.buffers[j]!.name}' (the same bytes)`;
    }
  }
  return 'the same bytes';
}
