/**
 * Proves of a plan that it computes the same however its streams are interleaved: over every order of runs that its step
 * allows, any two records that touch the same bytes, one of them writing, are ordered by streams and events; and no
 * record reads bytes of the arena that its run has not written. Vector clocks (Fidge 1988): the clock of an instance
 * has, for each stream, how many of that stream's instances have ended before it starts.
 */
import { GraphError } from '../ir/error.js';
import { type Plan, streams } from '../ir/plan_v2.js';
import { accesses, type Extent, extentOf } from './plan_memory.js';
import { type Instance, PlanQueue, type QueuedRun, stepSequences } from './plan_queue.js';

/** @throws GraphError that names the first two records that race, or the first that reads what nobody wrote */
export function checkPlan(plan: Plan): void {
  const cells = cellsOf(plan);
  for (const runs of stepSequences(plan)) checkSequence(plan, runs, cells);
}

/** Newest accesses of a cell, by stream: the index of the instance; −1 for none. */
interface Cell {
  readonly reads: Int32Array;
  readonly writes: Int32Array;
  /** The run that wrote the cell last, which decides whether a run may read the arena there. */
  writtenBy: number;
}

const streamCount = Object.keys(streams).length;

function checkSequence(plan: Plan, runs: readonly QueuedRun[], cells: Cells): void {
  const queue = new PlanQueue(plan);
  for (const run of runs) queue.queue(run);
  const clocks: Int32Array[] = [];
  const positions: number[] = [];
  const lengths = new Int32Array(streamCount);
  const state = new Map<string, Cell>();
  for (const instance of queue.instances) {
    const clock = new Int32Array(streamCount);
    for (const earlier of instance.after) {
      clocks[earlier]!.forEach((ended, stream) => {
        clock[stream] = Math.max(clock[stream]!, ended);
      });
      const stream = queue.instances[earlier]!.record.stream;
      clock[stream] = Math.max(clock[stream]!, positions[earlier]! + 1);
    }
    clocks.push(clock);
    positions.push(lengths[instance.record.stream]!++);
    const isBefore = (earlier: number) =>
      clock[queue.instances[earlier]!.record.stream]! > positions[earlier]!;
    checkAccesses(plan, instance, cells, state, (earlier) => {
      if (!isBefore(earlier)) throw race(plan, queue.instances[earlier]!, instance);
    });
  }
}

/** Compares an instance with the newest accesses of the cells that it touches, and adds its own. */
function checkAccesses(
  plan: Plan,
  instance: Instance,
  cells: Cells,
  state: Map<string, Cell>,
  requireBefore: (earlier: number) => void,
): void {
  const { reads, writes } = accesses(instance);
  const { stream } = instance.record;
  const touch = (index: number, use: (cell: Cell, extent: Extent) => void) => {
    const extent = extentOf(plan, index, instance.runIndex);
    for (const key of cells.within(extent)) {
      let cell = state.get(key);
      if (cell === undefined) {
        cell = {
          reads: new Int32Array(streamCount).fill(-1),
          writes: new Int32Array(streamCount).fill(-1),
          writtenBy: -1,
        };
        state.set(key, cell);
      }
      use(cell, extent);
    }
  };
  const requireAll = (newest: Int32Array) => {
    newest.forEach((earlier, other) => {
      if (earlier >= 0 && other !== stream) requireBefore(earlier);
    });
  };
  for (const index of reads) {
    touch(index, (cell, { memory }) => {
      requireAll(cell.writes);
      if (memory === 'arena' && cell.writtenBy !== instance.runIndex) {
        throw new GraphError(
          `plan ${plan.name}: ${describe(instance)} reads ${plan.buffers[index]!.name}, which nothing in its run has written`,
        );
      }
      cell.reads[stream] = instance.index;
    });
  }
  for (const index of writes) {
    touch(index, (cell) => {
      requireAll(cell.writes);
      requireAll(cell.reads);
      cell.writes[stream] = instance.index;
      cell.writtenBy = instance.runIndex;
    });
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
  const touched = (instance: Instance) => {
    const { reads, writes } = accesses(instance);
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

/** Memories cut at every boundary of a buffer: between two cuts all bytes are touched by the same records. */
interface Cells {
  /** Keys of the cells of an extent. */
  within(extent: Extent): string[];
}

function cellsOf(plan: Plan): Cells {
  const cuts = new Map<string, number[]>();
  plan.buffers.forEach((_, index) => {
    const { memory, start, end } = extentOf(plan, index, 0);
    if (memory !== 'arena' && !memory.startsWith('tensor ')) return;
    const list = cuts.get(memory);
    if (list === undefined) cuts.set(memory, [start, end]);
    else list.push(start, end);
  });
  for (const [memory, list] of cuts)
    cuts.set(
      memory,
      [...new Set(list)].sort((a, b) => a - b),
    );
  const known = new Map<string, string[]>();
  return {
    within({ memory, start, end }) {
      const list = cuts.get(memory);
      // A slot is memory of its run alone, touched as a whole.
      if (list === undefined) return [memory];
      const key = `${memory} ${start} ${end}`;
      let found = known.get(key);
      if (found === undefined) {
        found = list.filter((cut) => start <= cut && cut < end).map((cut) => `${memory} @${cut}`);
        known.set(key, found);
      }
      return found;
    },
  };
}
