/** The engine as the rest of Temper sees it: contexts, tensors and plans, typed and checked. */
import type { ExecutionSignature } from '../contracts/index.js';
import type { DType, Plan, PlanBuffer } from '../graph/index.js';
import { dtypeBytes, elements } from '../graph/index.js';
import { EngineError } from '../shared/errors.js';
import { addon } from './addon.js';
import { type Device, defaultDevice, parseDevice } from './device.js';
import { native, nativeAsync } from './errors.js';
import { defaultThreads } from './host.js';
import type {
  NativeCapabilities,
  NativeContext,
  NativeOp,
  NativePlanNeeds,
  NativeProgress,
  NativeRecordTime,
  NativeTarget,
} from './native.js';
import { type Snapshot, SnapshotRegions, type SnapshotTensor } from './snapshot.js';
import { bytesOf, type TensorData, typedArray } from './typed_arrays.js';

export interface ContextOptions {
  /** `cpu:0`, `fake:1`, …; default: `TEMPER_DEVICE`, otherwise `cpu:0`. */
  device?: string;
  /** Default: `TEMPER_THREADS`, otherwise the physical cores this process may use. */
  threads?: number;
  /** Kernel set. Default: `TEMPER_ISA` on a CPU, otherwise the best the device runs. */
  isa?: string;
}

/** What the compiler has to know of the device that a plan is for. */
export interface PlanTarget {
  /** Names of the ops that it has kernels for; others run by their fallback. */
  readonly kernels: ReadonlySet<string>;
  /** Of buffers in the arena, bytes. */
  readonly alignment: number;
}

export interface TensorInfo {
  dtype: DType;
  shape: readonly number[];
}

export interface RunOptions {
  /** The step's first micro-batch: records with `accumulate: "after_first"` overwrite instead of add. Default false. */
  first?: boolean;
  /** The step's last micro-batch. Default true. */
  last?: boolean;
}

/** Returns what this build of the engine and this CPU can do. */
export function engineCapabilities(): NativeCapabilities {
  return native(() => addon().capabilities());
}

/** Returns the engine's table of ops, which the compiler's (graph/ops) must equal. */
export function engineOps(): NativeOp[] {
  return native(() => addon().opTable());
}

/** Returns what plans for a device are compiled with; the device need not be there. @throws EngineError for one that is not known */
export const planTarget = (options: ContextOptions): PlanTarget => propertiesOf(chooseTarget(options).target);

function propertiesOf(target: NativeTarget): PlanTarget {
  const { kernels, alignment } = native(() => addon().targetProperties(target));
  return { kernels: new Set(kernels), alignment };
}

/** Returns what a plan needs beside its tensors, bytes, without a device or tensors. @throws EngineError where the target lacks a kernel */
export function planNeeds(plan: Plan, options: ContextOptions = {}): NativePlanNeeds {
  const { target } = chooseTarget(options);
  return native(() => addon().planNeeds(JSON.stringify(plan), target));
}

/** Starts an engine thread. @throws EngineError when the engine is not built or the options do not fit this machine */
export function createContext(options: ContextOptions = {}): EngineContext {
  const { target, device } = chooseTarget(options);
  const capabilities = engineCapabilities();
  const signature = {
    engine: capabilities.version,
    isa: target.target,
    device: device.kind === 'cpu' ? capabilities.cpu : device.kind,
    threads: target.threads,
    libraries: capabilities.libraries,
  };
  const planned = propertiesOf(target);
  return new EngineContext(
    native(() => addon().createContext({ ...target, device: device.id })),
    signature,
    planned,
  );
}

/** The device that is asked for, and what plans are prepared for on it. */
function chooseTarget(options: ContextOptions): { target: NativeTarget; device: Device } {
  const device = parseDevice(options.device ?? defaultDevice());
  const threads = options.threads ?? defaultThreads();
  if (!Number.isInteger(threads) || threads < 1 || threads > 4096) {
    throw new EngineError(`an engine cannot have ${threads} threads: it takes 1 to 4096`);
  }
  const targets = native(() => addon().targets(device.backend));
  const target = options.isa ?? ((device.kind === 'cpu' && process.env.TEMPER_ISA) || targets[0]!);
  if (!targets.includes(target)) {
    throw new EngineError(
      `this ${device.kind === 'cpu' ? 'CPU' : 'device'} does not support the kernel set '${target}'; it supports ${targets.join(', ')}`,
    );
  }
  return { target: { backend: device.backend, target, threads }, device };
}

/**
 * Named tensors, loaded plans and the engine thread that runs them, in the order in which runs were asked for.
 * Failures are EngineError, OutOfMemoryError where the system refuses memory, and EngineAborted after `abort()`.
 *
 * @example
 * const context = createContext();
 * context.allocate('w', 'f32', [2, 3]);
 * context.write('w', new Float32Array(6));
 * const plan = context.load(compiled.plan);
 * const { loss } = await plan.run('micro', { ids, labels, weight }, { first: true });
 */
export class EngineContext {
  /** What the bits of its results depend on besides plan and inputs. */
  readonly signature: ExecutionSignature;
  /** What plans that are loaded here are compiled with. */
  readonly target: PlanTarget;
  readonly #native: NativeContext;
  readonly #tensors = new Map<string, TensorInfo>();
  #closed = false;

  constructor(context: NativeContext, signature: ExecutionSignature, target: PlanTarget) {
    this.#native = context;
    this.signature = signature;
    this.target = target;
  }

  /** A zero-filled tensor of the context. Pages are committed when first touched. */
  allocate(name: string, dtype: DType, shape: readonly number[]): void {
    const info = tensorInfo(name, dtype, shape);
    native(() => this.#native.allocate(name, dtype, [...shape]));
    this.#tensors.set(name, info);
  }

  /**
   * A read-only tensor: the bytes of `file` from `byteOffset`, mapped and not copied (copied where the offset is not a
   * multiple of the element). The file must not be truncated while it is mapped; replacing it by rename is safe.
   */
  map(name: string, file: string, byteOffset: number, dtype: DType, shape: readonly number[]): void {
    const info = tensorInfo(name, dtype, shape);
    requireOffset(`the tensor '${name}'`, byteOffset);
    native(() => this.#native.map(name, file, byteOffset, dtype, [...shape]));
    this.#tensors.set(name, info);
  }

  /** Frees a tensor that no loaded plan uses. */
  free(name: string): void {
    native(() => this.#native.free(name));
    this.#tensors.delete(name);
  }

  /** Dtype and shape of every tensor, in the order in which they were made. */
  get tensors(): ReadonlyMap<string, TensorInfo> {
    return this.#tensors;
  }

  /** Copies `data` (the dtype's array type, or raw bytes) into a tensor from element `offset`. */
  write(name: string, data: TensorData | Uint8Array, offset = 0): void {
    const { dtype } = this.#info(name);
    const bytes = bytesOf(`the tensor '${name}'`, dtype, data);
    requireOffset(`the tensor '${name}'`, offset);
    native(() => this.#native.write(name, offset * dtypeBytes[dtype], bytes));
  }

  /** A copy of a tensor, or of `count` elements from element `offset`. */
  read(name: string, offset = 0, count?: number): TensorData {
    const { dtype, shape } = this.#info(name);
    requireOffset(`the tensor '${name}'`, offset);
    const elements = count ?? Math.max(0, shape.reduce((product, d) => product * d, 1) - offset);
    requireOffset(`the tensor '${name}'`, elements);
    const size = dtypeBytes[dtype];
    return typedArray(
      dtype,
      native(() => this.#native.read(name, offset * size, elements * size)),
    );
  }

  /** Checks a plan against the tensors and prepares its kernels. Arena and scratch are allocated by `prepare`, or else the first run. */
  load(plan: Plan): EnginePlan {
    const loaded = native(() => this.#native.load(JSON.stringify(plan)));
    return new EnginePlan(this.#native, plan, loaded.plan, loaded.arenaBytes, loaded.workspaceBytes);
  }

  /**
   * Allocates arena and scratch for the loaded plans now, on the engine thread, touches every page and prepares their records:
   * the first run then starts at full speed.
   */
  async prepare(): Promise<void> {
    await nativeAsync(async () => this.#native.prepare());
  }

  /** Ends the run under way between two records; it and all that is queued reject with EngineAborted. */
  abort(): void {
    this.#native.abort();
  }

  progress(): NativeProgress {
    return this.#native.progress();
  }

  /** Seconds per op while `on`; turning it off clears them. */
  profile(on: boolean): void {
    this.#native.profile(on);
  }

  /** By time, the longest first. */
  profileTimes(): NativeRecordTime[] {
    return this.#native.profileTimes().sort((a, b) => b.seconds - a.seconds);
  }

  /** While `on`, fills arena and scratch with NaN whenever nothing should read them any more: a test of the plan. */
  poison(on: boolean): void {
    this.#native.poison(on);
  }

  /** Aborts what is queued, waits for the record under way and frees everything. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.close();
    this.#tensors.clear();
  }

  #info(name: string): TensorInfo {
    const info = this.#tensors.get(name);
    if (info !== undefined) return info;
    throw new EngineError(this.#closed ? 'the context is closed' : `there is no tensor '${name}'`);
  }
}

/** A plan in a context. */
export class EnginePlan {
  readonly name: string;
  readonly arenaBytes: number;
  /** Scratch of the record that needs most. */
  readonly workspaceBytes: number;
  readonly #native: NativeContext;
  readonly #id: number;
  readonly #inputs = new Map<string, DType>();
  readonly #outputs = new Map<string, DType>();
  readonly #snapshot: readonly SnapshotTensor[];
  readonly #regions = new SnapshotRegions();

  constructor(context: NativeContext, plan: Plan, id: number, arenaBytes: number, workspaceBytes: number) {
    this.name = plan.name;
    this.arenaBytes = arenaBytes;
    this.workspaceBytes = workspaceBytes;
    this.#native = context;
    this.#id = id;
    for (const buffer of plan.buffers) {
      if (buffer.space === 'input') this.#inputs.set(buffer.name, buffer.dtype);
      if (buffer.space === 'output') this.#outputs.set(buffer.name, buffer.dtype);
    }
    this.#snapshot = outputsOf(plan, 'snapshot').map(({ name, dtype, shape }) => ({
      name,
      dtype,
      bytes: elements(shape) * dtypeBytes[dtype],
    }));
  }

  /** The input slots of all its programs. */
  get inputNames(): string[] {
    return [...this.#inputs.keys()];
  }

  /**
   * Queues a program and resolves to its output slots by name. `inputs` are exactly the slots that the program reads,
   * each in the array type of its dtype (16-bit floats as their bits); they are copied before this returns.
   */
  async run(
    program: string,
    inputs: Readonly<Record<string, TensorData | Uint8Array>> = {},
    options: RunOptions = {},
  ): Promise<Record<string, TensorData>> {
    const bytes: Record<string, Uint8Array> = {};
    for (const [name, data] of Object.entries(inputs)) {
      const dtype = this.#inputs.get(name);
      if (dtype === undefined) throw new EngineError(`plan '${this.name}' has no input '${name}'`);
      bytes[name] = bytesOf(`plan '${this.name}': the input '${name}'`, dtype, data);
    }
    const { first = false, last = true } = options;
    const outputs = await nativeAsync(async () =>
      this.#native.run(this.#id, program, bytes, { first, last, into: {} }),
    );
    return Object.fromEntries(
      Object.entries(outputs).map(([name, buffer]) => [name, typedArray(this.#outputs.get(name)!, buffer)]),
    );
  }

  /**
   * Queues the program `snapshot`: copies of the tensors that a checkpoint holds, as they are after everything queued before.
   * Programs queued later run meanwhile; only one that writes these tensors waits for the copy. At most two snapshots exist
   * at a time.
   */
  async snapshot(): Promise<Snapshot> {
    const { buffers, snapshot } = this.#regions.take(this.#snapshot);
    const into = Object.fromEntries(this.#snapshot.map(({ name }, index) => [name, buffers[index]!]));
    try {
      await nativeAsync(async () =>
        this.#native.run(this.#id, 'snapshot', {}, { first: false, last: true, into }),
      );
      return snapshot;
    } catch (error) {
      snapshot.release();
      throw error;
    }
  }

  /** Forgets the plan. It must have no runs queued. */
  unload(): void {
    native(() => this.#native.unload(this.#id));
  }
}

/** The output slots that a program downloads to, in their order; none for a program that the plan does not have. */
function outputsOf(plan: Plan, program: string): PlanBuffer[] {
  const [from, to] = plan.programs[program] ?? [0, 0];
  const records = plan.segments
    .slice(from, to)
    .flatMap((segment) => plan.records.slice(segment.from, segment.to));
  return records
    .filter(({ op }) => op === 'download')
    .flatMap(({ outputs }) => outputs.y!.map((index) => plan.buffers[index]!));
}

function tensorInfo(name: string, dtype: DType, shape: readonly number[]): TensorInfo {
  if (name === '') throw new EngineError('a tensor needs a name');
  if (!shape.every((d) => Number.isSafeInteger(d) && d > 0)) {
    throw new EngineError(`the tensor '${name}' cannot have the shape [${shape.join(', ')}]`);
  }
  return { dtype, shape: [...shape] };
}

function requireOffset(what: string, offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0)
    throw new EngineError(`${what}: ${offset} is not a valid offset or count`);
}
