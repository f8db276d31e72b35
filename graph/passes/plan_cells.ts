/** The memories of a plan cut at every boundary of a buffer: all bytes of such a cell are touched by the same records. */
import type { Plan, PlanRecord, Space } from '../ir/plan.js';
import { accesses, extentOf } from './plan_memory.js';
import type { Instance } from './plan_queue.js';

/** The cells [from, to) of a buffer. */
export interface CellRange {
  readonly buffer: number;
  readonly space: Space;
  readonly from: number;
  readonly to: number;
}

export interface TouchedCells {
  readonly reads: readonly CellRange[];
  readonly writes: readonly CellRange[];
}

export class PlanCells {
  /** Cells are numbers from 0 on. A slot's are the same in every run. */
  readonly count: number;
  readonly #ranges: readonly CellRange[];
  /** By record, in a run that is the first of its step and in one that is not. */
  readonly #touched: readonly { readonly first: TouchedCells; readonly later: TouchedCells }[];
  /** 1 for a cell that records of more than one stream touch: on one stream all records are ordered. */
  readonly #shared: Uint8Array;

  constructor(plan: Plan) {
    const { ranges, count } = cutBuffers(plan);
    this.#ranges = ranges;
    this.count = count;
    this.#touched = plan.records.map((record) => ({
      first: this.#cellsOf(record, { first: true }),
      later: this.#cellsOf(record, { first: false }),
    }));
    this.#shared = this.#findShared(plan);
  }

  touchedBy({ at, run }: Instance): TouchedCells {
    const touched = this.#touched[at]!;
    return run.first ? touched.first : touched.later;
  }

  isShared(cell: number): boolean {
    return this.#shared[cell] === 1;
  }

  #cellsOf(record: PlanRecord, run: { readonly first: boolean }): TouchedCells {
    const { reads, writes } = accesses(record, run);
    const rangesOf = (buffers: readonly number[]) =>
      [...new Set(buffers)].map((index) => this.#ranges[index]!);
    return { reads: rangesOf(reads), writes: rangesOf(writes) };
  }

  #findShared(plan: Plan): Uint8Array {
    const streamOf = new Int8Array(this.count).fill(-1);
    const shared = new Uint8Array(this.count);
    plan.records.forEach(({ stream }, at) => {
      const { reads, writes } = this.#touched[at]!.later;
      for (const { from, to } of [...reads, ...writes]) {
        for (let cell = from; cell < to; cell++) {
          if (streamOf[cell] === -1) streamOf[cell] = stream;
          else if (streamOf[cell] !== stream) shared[cell] = 1;
        }
      }
    });
    return shared;
  }
}

function cutBuffers(plan: Plan): { ranges: CellRange[]; count: number } {
  const extents = plan.buffers.map((_, index) => extentOf(plan, index, 0));
  const cuts = new Map<string, number[]>();
  for (const { memory, start, end } of extents) {
    const list = cuts.get(memory);
    if (list === undefined) cuts.set(memory, [start, end]);
    else list.push(start, end);
  }
  const cellAt = new Map<string, Map<number, number>>();
  let count = 0;
  for (const [memory, list] of cuts) {
    const sorted = [...new Set(list)].sort((a, b) => a - b);
    cellAt.set(memory, new Map(sorted.map((cut, i) => [cut, count + i])));
    count += sorted.length - 1;
  }
  const ranges = extents.map(({ memory, start, end }, buffer) => {
    const cells = cellAt.get(memory)!;
    const { space, view } = plan.buffers[buffer]!;
    const memorySpace = view === null ? space : plan.buffers[view.of]!.space;
    return { buffer, space: memorySpace, from: cells.get(start)!, to: cells.get(end)! };
  });
  return { ranges, count };
}
