/**
 * Executes plans in float64 as an engine would: records over one arena, streams next to each other, NaN wherever nothing
 * should be read. Native kernels and whole plans are checked against it, and plans against themselves: a plan whose
 * records are ordered by events computes the same in every order that the events allow.
 */

import { GraphError } from './ir/error.js';
import { elements } from './ir/graph.js';
import { dtypeBytes, type Plan, type PlanBuffer } from './ir/plan.js';
import { execute, roundStored, type Tensors } from './ops/execute.js';
import type { Tensor } from './ops/op.js';
import { flattenOperands, recordOperands } from './ops/operands.js';
import { opOf } from './ops/registry.js';
import { accesses, bufferBytes, type Extent, extentOf } from './passes/plan_memory.js';
import { type Instance, PlanQueue, type QueuedRun } from './passes/plan_queue.js';

/**
 * When records are executed: `list`, as they are queued; `lazy`, only when their outputs are asked for, with all that they
 * come after; a seed, in a random order that streams and events allow, as soon as outputs are asked for.
 */
export type ExecutionOrder = 'list' | 'lazy' | { readonly seed: number };

export interface InterpreterOptions {
  /** Round every store to its dtype, and the factors of bf16 products: what an engine computes, up to summation order. */
  readonly rounding: boolean;
  readonly order: ExecutionOrder;
}

type Inputs = Readonly<Record<string, ArrayLike<number>>>;

interface Run {
  readonly instances: readonly Instance[];
  readonly inputs: Inputs;
  readonly outputs: Tensors;
}

export class PlanInterpreter {
  readonly plan: Plan;
  /** The context's tensors; runs update them in place. */
  readonly tensors: Tensors;
  readonly #options: InterpreterOptions;
  readonly #queue: PlanQueue;
  readonly #runs: Run[] = [];
  readonly #executed = new Set<number>();
  readonly #arena: Arena;
  readonly #random: () => number;

  constructor(plan: Plan, tensors: Tensors, options: Partial<InterpreterOptions> = {}) {
    this.plan = plan;
    this.tensors = tensors;
    this.#options = { rounding: options.rounding ?? false, order: options.order ?? 'list' };
    this.#queue = new PlanQueue(plan);
    this.#arena = new Arena(plan);
    this.#random = generator(typeof this.#options.order === 'object' ? this.#options.order.seed : 1);
  }

  /** Runs a program, with what it comes after, and returns its output slots by name. */
  run(program: string, inputs: Inputs, options: { first: boolean; last?: boolean }): Tensors {
    const run = this.#enqueue(program, inputs, options);
    this.#demand(run.instances.filter((instance) => this.#writesOutput(instance)));
    return run.outputs;
  }

  /** Queues a run. Its output slots are filled when they are executed: by a run that comes after, or by `finish`. */
  queue(program: string, inputs: Inputs, options: { first: boolean; last?: boolean }): Tensors {
    return this.#enqueue(program, inputs, options).outputs;
  }

  /** Executes what is still queued. */
  finish(): void {
    this.#demand(this.#queue.instances);
  }

  #enqueue(program: string, inputs: Inputs, options: { first: boolean; last?: boolean }): Run {
    const counts = Object.fromEntries(
      Object.entries(inputs).map(([name, data]) => [name, data.length === 1 ? data[0]! : Number.NaN]),
    );
    const run: QueuedRun = { program, first: options.first, last: options.last ?? true, counts };
    const queued: Run = { instances: this.#queue.queue(run), inputs, outputs: {} };
    this.#runs.push(queued);
    this.#arena.begin(queued.instances);
    if (this.#options.order === 'list') for (const { index } of queued.instances) this.#execute(index);
    return queued;
  }

  #writesOutput({ record }: Instance): boolean {
    return Object.values(record.outputs).some((group) =>
      group.some((index) => this.plan.buffers[index]!.space === 'output'),
    );
  }

  /** Executes instances with all that they come after. */
  #demand(wanted: readonly Instance[]): void {
    const needed = new Set<number>();
    const open = wanted.map(({ index }) => index);
    for (let index = open.pop(); index !== undefined; index = open.pop()) {
      if (needed.has(index) || this.#executed.has(index)) continue;
      needed.add(index);
      open.push(...this.#queue.instances[index]!.after);
    }
    const { order } = this.#options;
    for (const index of typeof order === 'object' ? this.#randomOrder(needed) : this.#latestOrder(needed))
      this.#execute(index);
  }

  /** The order in which each is as late as those that come after it allow, those queued first the latest. */
  #latestOrder(needed: ReadonlySet<number>): number[] {
    const followers = new Map([...needed].map((index) => [index, 0]));
    const before = (index: number) =>
      this.#queue.instances[index]!.after.filter((earlier) => needed.has(earlier));
    for (const index of needed)
      for (const earlier of before(index)) followers.set(earlier, followers.get(earlier)! + 1);
    const last = new Set([...needed].filter((index) => followers.get(index) === 0));
    const reversed: number[] = [];
    while (last.size > 0) {
      const index = Math.min(...last);
      last.delete(index);
      reversed.push(index);
      for (const earlier of before(index)) {
        followers.set(earlier, followers.get(earlier)! - 1);
        if (followers.get(earlier) === 0) last.add(earlier);
      }
    }
    return reversed.reverse();
  }

  #randomOrder(needed: Set<number>): number[] {
    const order: number[] = [];
    const isReady = (index: number) =>
      this.#queue.instances[index]!.after.every((earlier) => !needed.has(earlier));
    while (needed.size > 0) {
      const ready = [...needed].filter(isReady);
      const next = ready[Math.floor(this.#random() * ready.length)]!;
      needed.delete(next);
      order.push(next);
    }
    return order;
  }

  #execute(index: number): void {
    if (this.#executed.has(index)) return;
    const instance = this.#queue.instances[index]!;
    const { op: name, attrs, inputs, outputs } = instance.record;
    const op = opOf(name);
    const rule = recordOperands(op, attrs);
    const reads = flattenOperands(name, rule.inputs, inputs).map((i) => this.#read(i, instance));
    const writes = flattenOperands(name, rule.outputs, outputs);
    const before = writes.map((i) => this.#before(i, instance));
    const mode = { first: instance.run.first, rounding: this.#options.rounding };
    execute(op, attrs, reads, before, mode).forEach((data, i) => {
      this.#write(writes[i]!, instance, data);
    });
    this.#executed.add(index);
    this.#arena.end(instance);
  }

  #read(index: number, { runIndex }: Instance): Tensor {
    const buffer = this.plan.buffers[index]!;
    const { shape } = buffer;
    if (buffer.space === 'arena')
      return { shape, data: this.#arena.load(extentOf(this.plan, index, runIndex), buffer) };
    if (buffer.space === 'tensor') return { shape, data: this.#tensor(buffer).slice() };
    const data = this.#runs[runIndex]!.inputs[buffer.name];
    if (data?.length !== elements(shape)) {
      throw new GraphError(
        `input ${buffer.name}: needs ${elements(shape)} elements, has ${data?.length ?? 'none'}`,
      );
    }
    return { shape, data: Float64Array.from(data) };
  }

  /** Returns the contents of an output before the record, for records that add to it or update it. */
  #before(index: number, { runIndex }: Instance): Tensor {
    const buffer = this.plan.buffers[index]!;
    const { shape } = buffer;
    if (buffer.space === 'tensor') return { shape, data: this.#tensor(buffer).slice() };
    if (buffer.space === 'arena')
      return { shape, data: this.#arena.load(extentOf(this.plan, index, runIndex), buffer) };
    return { shape, data: new Float64Array(elements(shape)) };
  }

  #write(index: number, { runIndex }: Instance, data: Float64Array): void {
    const buffer = this.plan.buffers[index]!;
    const rounded = roundStored(data, buffer.dtype, this.#options);
    if (buffer.space === 'arena') this.#arena.store(extentOf(this.plan, index, runIndex), buffer, rounded);
    else if (buffer.space === 'output') this.#runs[runIndex]!.outputs[buffer.name] = rounded.slice();
    else this.#tensor(buffer).set(rounded);
  }

  /** A tensor's elements, or those of a window of it. */
  #tensor(buffer: PlanBuffer): Float64Array {
    const base = buffer.view === null ? buffer : this.plan.buffers[buffer.view.of]!;
    const data = this.tensors[base.name];
    if (data?.length !== elements(base.shape)) {
      throw new GraphError(
        `tensor ${base.name}: needs ${elements(base.shape)} elements, has ${data?.length ?? 'none'}`,
      );
    }
    const start = buffer.view === null ? 0 : buffer.view.row * elements(base.shape.slice(1));
    return data.subarray(start, start + elements(buffer.shape));
  }
}

/**
 * The arena, with a float64 for every byte: an element is stored at its first byte, and its other bytes are NaN. So buffers
 * overlap here exactly where they overlap in memory, and what is read in another way than it was written is NaN.
 */
class Arena {
  readonly #plan: Plan;
  readonly #bytes: Float64Array;
  /** Executions that each extent of a run still waits for; when none is left, nothing may read it any more. */
  readonly #pending = new Map<string, { extent: Extent; left: number; touched: boolean }>();

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#bytes = new Float64Array(plan.arenaBytes).fill(Number.NaN);
  }

  /** Counts who will touch what in a run. */
  begin(instances: readonly Instance[]): void {
    for (const instance of instances) {
      for (const [key, extent] of this.#extents(instance)) {
        const pending = this.#pending.get(key);
        if (pending === undefined) this.#pending.set(key, { extent, left: 1, touched: false });
        else pending.left += 1;
      }
    }
  }

  /** Turns to NaN what the instance was the last to touch, unless a living buffer has taken over its bytes. */
  end(instance: Instance): void {
    const extents = this.#extents(instance);
    for (const [key] of extents) {
      const entry = this.#pending.get(key)!;
      entry.left -= 1;
      entry.touched = true;
    }
    for (const [key, extent] of extents) {
      if (this.#pending.get(key)?.left !== 0) continue;
      this.#pending.delete(key);
      this.#poison(extent);
    }
  }

  load({ start, end }: Extent, { dtype }: PlanBuffer): Float64Array {
    const width = dtypeBytes[dtype];
    return Float64Array.from({ length: (end - start) / width }, (_, i) => this.#bytes[start + i * width]!);
  }

  store({ start, end }: Extent, { dtype }: PlanBuffer, data: Float64Array): void {
    const width = dtypeBytes[dtype];
    this.#bytes.fill(Number.NaN, start, end);
    data.forEach((x, i) => {
      this.#bytes[start + i * width] = x;
    });
  }

  #poison({ start, end }: Extent): void {
    const living = [...this.#pending.values()].filter(
      ({ extent, touched }) => touched && extent.start < end && start < extent.end,
    );
    for (let byte = start; byte < end; byte++) {
      if (!living.some(({ extent }) => extent.start <= byte && byte < extent.end))
        this.#bytes[byte] = Number.NaN;
    }
  }

  /** Arena extents that an instance touches, each once. */
  #extents(instance: Instance): Map<string, Extent> {
    const { reads, writes } = accesses(instance.record, instance.run);
    const extents = new Map<string, Extent>();
    for (const index of [...reads, ...writes]) {
      if (bufferBytes(this.#plan.buffers[index]!) === 0) continue;
      const extent = extentOf(this.#plan, index, instance.runIndex);
      if (extent.memory !== 'arena') continue;
      extents.set(`${instance.runIndex} ${index} ${extent.start} ${extent.end}`, extent);
    }
    return extents;
  }
}

/** Numbers from 0 up to 1 (Numerical Recipes' generator). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
