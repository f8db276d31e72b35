/**
 * The reference interpreter: executes a graph, or a plan, in float64. Gradients are checked against finite differences
 * here, and native kernels and whole plans against this.
 */
import { GraphError } from './ir/error.js';
import type { Attrs, Graph } from './ir/graph.js';
import { elements, getValue } from './ir/graph.js';
import type { Plan, PlanBuffer, PlanRecord } from './ir/plan.js';
import { dtypeBytes } from './ir/plan.js';
import { roundTo } from './ir/round.js';
import type { EvaluateMode, Op, Tensor } from './ops/op.js';
import { opOf } from './ops/registry.js';

/** Tensors by name. */
export type Tensors = Record<string, Float64Array>;

export interface InterpretOptions {
  /** As a run's option: records with `accumulate: "after_first"` overwrite instead of add. */
  readonly first?: boolean;
  /** Round every store to its dtype, and the factors of bf16 products: what an engine computes, up to summation order. */
  readonly rounding?: boolean;
}

/**
 * Executes the nodes of `graph`. `feeds` has inputs, parameters, constants and state by name; state that is missing
 * starts at zero. Returns every value by name, state and updated parameters included; `feeds` is left as it is.
 */
export function interpret(
  graph: Graph,
  feeds: Readonly<Record<string, ArrayLike<number>>>,
  options: InterpretOptions = {},
): Tensors {
  const store = new Map<number, Tensor>();
  for (const value of graph.values) {
    const fed = feeds[value.name];
    if (fed !== undefined && fed.length !== elements(value.shape)) {
      throw new GraphError(`${value.name}: fed ${fed.length} elements for [${value.shape.join(', ')}]`);
    }
    if (fed !== undefined) store.set(value.id, { shape: value.shape, data: Float64Array.from(fed) });
    else if (value.kind === 'state')
      store.set(value.id, { shape: value.shape, data: new Float64Array(elements(value.shape)) });
  }
  const read = (id: number): Tensor => {
    const tensor = store.get(id);
    if (tensor === undefined) throw new GraphError(`${getValue(graph, id).name} has no value: feed it`);
    return tensor;
  };
  for (const node of graph.nodes) {
    const outputs = node.outputs.map((id) => getValue(graph, id));
    execute(
      opOf(node.op),
      node.attrs,
      node.inputs.map(read),
      outputs.map(
        (value) =>
          store.get(value.id) ?? { shape: value.shape, data: new Float64Array(elements(value.shape)) },
      ),
      (i, data) =>
        store.set(node.outputs[i]!, {
          shape: outputs[i]!.shape,
          data: stored(data, outputs[i]!.dtype, options),
        }),
      options,
    );
  }
  return Object.fromEntries([...store].map(([id, tensor]) => [getValue(graph, id).name, tensor.data]));
}

/** Runs one op: `old` are the outputs before, which it may add to or read; `write` takes what they become. */
function execute(
  op: Op,
  attrs: Attrs,
  inputs: readonly Tensor[],
  old: readonly Tensor[],
  write: (output: number, data: Float64Array) => void,
  options: InterpretOptions,
): void {
  const mode: EvaluateMode = { roundFactors: options.rounding ?? false };
  const states = (op.readsOutputs ?? []).flatMap((i) => (old[i] === undefined ? [] : [old[i]]));
  const made = op.evaluate(
    [...inputs, ...states],
    attrs,
    old.map((tensor) => tensor.shape),
    mode,
  );
  const adds =
    attrs.accumulate === 'always' || (attrs.accumulate === 'after_first' && !(options.first ?? false));
  made.forEach((data, i) => {
    const accumulates = adds && (op.accumulates?.(attrs).includes(i) ?? false);
    write(i, accumulates ? data.map((x, j) => x + old[i]!.data[j]!) : data);
  });
}

function stored(data: Float64Array, dtype: PlanBuffer['dtype'], options: InterpretOptions): Float64Array {
  return options.rounding ? data.map((x) => roundTo(x, dtype)) : data;
}

/**
 * Executes a plan as an engine would: records in order, over one arena. The arena holds a float64 for every two bytes,
 * so that buffers overlap here exactly where they overlap in memory; each run starts with an arena of NaN, and a range
 * turns to NaN again as soon as its last reader has run. A plan that reads what it should not therefore yields NaN.
 */
export class PlanInterpreter {
  readonly #arena: Float64Array;
  readonly #options: { readonly rounding: boolean };

  constructor(
    readonly plan: Plan,
    /** The context's tensors by name; runs update them in place. */
    readonly tensors: Tensors,
    options: { readonly rounding: boolean } = { rounding: false },
  ) {
    this.#options = options;
    this.#arena = new Float64Array(Math.ceil(plan.arenaBytes / 2));
  }

  /** Runs a program and returns its output slots by name. */
  run(
    program: string,
    inputs: Readonly<Record<string, ArrayLike<number>>>,
    options: { first: boolean },
  ): Tensors {
    const range = this.plan.programs[program];
    if (range === undefined)
      throw new GraphError(
        `plan ${this.plan.name} has no program '${program}'; it has ${Object.keys(this.plan.programs).join(', ')}`,
      );
    const records = this.plan.records.slice(...range);
    const uses = lastUses(this.plan, records);
    const outputs: Tensors = {};
    this.#arena.fill(Number.NaN);
    records.forEach((record, at) => {
      execute(
        opOf(record.op),
        record.attrs,
        record.inputs.map((index) => this.#read(index, inputs)),
        record.outputs.map((index) => this.#before(index)),
        (i, data) => this.#write(record.outputs[i]!, data, outputs),
        { first: options.first, rounding: this.#options.rounding },
      );
      this.#poison(uses, at);
    });
    return outputs;
  }

  #read(index: number, inputs: Readonly<Record<string, ArrayLike<number>>>): Tensor {
    const buffer = this.plan.buffers[index]!;
    if (buffer.space === 'arena') return { shape: buffer.shape, data: this.#load(buffer) };
    const data = buffer.space === 'tensor' ? this.tensors[buffer.name] : inputs[buffer.name];
    if (data?.length !== elements(buffer.shape)) {
      throw new GraphError(
        `${buffer.space} ${buffer.name}: needs ${elements(buffer.shape)} elements, has ${data?.length ?? 'none'}`,
      );
    }
    return { shape: buffer.shape, data: Float64Array.from(data) };
  }

  #before(index: number): Tensor {
    const buffer = this.plan.buffers[index]!;
    const data = buffer.space === 'tensor' ? this.tensors[buffer.name] : undefined;
    return { shape: buffer.shape, data: data ?? new Float64Array(0) };
  }

  #write(index: number, data: Float64Array, outputs: Tensors): void {
    const buffer = this.plan.buffers[index]!;
    const kept = stored(data, buffer.dtype, this.#options);
    if (buffer.space === 'arena') this.#save(buffer, kept);
    else if (buffer.space === 'output') outputs[buffer.name] = kept;
    else this.tensors[buffer.name] = kept;
  }

  /** Places of a buffer's elements in the arena of float64. */
  #span(buffer: PlanBuffer): { start: number; step: number; length: number } {
    return { start: buffer.offset! / 2, step: dtypeBytes[buffer.dtype] / 2, length: elements(buffer.shape) };
  }

  #load(buffer: PlanBuffer): Float64Array {
    const { start, step, length } = this.#span(buffer);
    return new Float64Array(length).map((_, i) => this.#arena[start + i * step]!);
  }

  #save(buffer: PlanBuffer, data: Float64Array): void {
    const { start, step, length } = this.#span(buffer);
    this.#arena.fill(Number.NaN, start, start + step * length);
    data.forEach((x, i) => {
      this.#arena[start + i * step] = x;
    });
  }

  /** NaN over the buffers whose last use is record `at`, unless one that lives on took over their range. */
  #poison(uses: ReadonlyMap<number, Use>, at: number): void {
    for (const [index, use] of uses) {
      if (use.last !== at) continue;
      const { start, step, length } = this.#span(this.plan.buffers[index]!);
      const inherited = [...uses].some(
        ([other, life]) =>
          life.first <= at &&
          at < life.last &&
          this.plan.buffers[other]!.offset === this.plan.buffers[index]!.offset,
      );
      if (!inherited) this.#arena.fill(Number.NaN, start, start + step * length);
    }
  }
}

interface Use {
  first: number;
  last: number;
}

/** First and last record of each arena buffer of a program. */
function lastUses(plan: Plan, records: readonly PlanRecord[]): Map<number, Use> {
  const uses = new Map<number, Use>();
  records.forEach((record, at) => {
    for (const index of [...record.inputs, ...record.outputs]) {
      if (plan.buffers[index]!.space !== 'arena') continue;
      const use = uses.get(index);
      if (use === undefined) uses.set(index, { first: at, last: at });
      else use.last = at;
    }
  });
  return uses;
}
