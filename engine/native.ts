/**
 * The bridge to native/, declared once, in the order of native/bridge/module.cpp. Plain data crosses it; all validation and
 * defaults are in context.ts and files.ts. A field that may be absent is `T | null`, never optional, so that one that was
 * forgotten fails at compile time instead of reading as its absence.
 */

import type { DType, InPlacePair, OperandGroup } from '../graph/index.js';

export interface NativeCapabilities {
  version: string;
  /** Kernel sets this CPU can run, best first: `avx512_bf16`, `avx512`, `avx2`, `portable`. */
  isas: string[];
  cpu: string;
  /** What the numbers depend on besides our own source: compiler, C library. */
  libraries: Record<string, string>;
}

/** An op as the engine knows it: the same as its file in graph/ops. */
export interface NativeOp {
  name: string;
  inputs: OperandGroup[];
  outputs: OperandGroup[];
  /** Type of each attribute, by key. */
  attributes: Record<string, string>;
  inPlace: InPlacePair[];
}

/** What plans are prepared for. */
export interface NativeTarget {
  /** `cpu`, or the file of a backend. */
  backend: string;
  /** One of `targets(backend)`. */
  target: string;
  threads: number;
}

/** What a plan for a target may hold, and how it is laid out. */
export interface NativeTargetProperties {
  /** Names of the ops that it has kernels for. */
  kernels: string[];
  /** Of buffers in the arena, bytes. */
  alignment: number;
}

export interface NativeContextOptions extends NativeTarget {
  /** The backend's name for one of its devices. */
  device: string;
}

export interface NativePlanNeeds {
  arenaBytes: number;
  workspaceBytes: number;
}

export interface NativeLoadedPlan {
  plan: number;
  arenaBytes: number;
  workspaceBytes: number;
}

export interface NativeRunOptions {
  /** The step's first micro-batch: records with `accumulate: "after_first"` overwrite instead of add. */
  first: boolean;
  last: boolean;
  /** Memory for output slots, by name and of their sizes; the others get buffers of their own. */
  into: Record<string, ArrayBuffer>;
}

export interface NativeProgress {
  /** Records finished since the context was made. */
  records: number;
  /** Runs finished since the context was made. */
  runs: number;
  /** Largest arena byte touched so far, exclusive. */
  arenaHighWater: number;
}

export interface NativeRecordTime {
  op: string;
  runs: number;
  seconds: number;
}

/**
 * One context: named tensors, loaded plans, one engine thread. Methods throw `Error` with a plain message, and a `code`
 * where the device is to blame: `UNSUPPORTED`, `OUT_OF_MEMORY`, `DEVICE_LOST`, `PEER_LOST`.
 */
export interface NativeContext {
  /** A zero-filled tensor owned by the context, 64-byte aligned. */
  allocate(name: string, dtype: DType, shape: number[]): void;
  /** A read-only tensor mapped from `byteOffset` of a file; bounds and file type are checked. */
  map(name: string, file: string, byteOffset: number, dtype: DType, shape: number[]): void;
  free(name: string): void;
  /** Copies `data` into an owned tensor at `byteOffset`. */
  write(name: string, byteOffset: number, data: Uint8Array): void;
  /** Copies `byteLength` bytes out of a tensor. */
  read(name: string, byteOffset: number, byteLength: number): ArrayBuffer;
  /** Checks a plan against the tensors, prepares its kernels and returns what it will need; allocates nothing. */
  load(plan: string): NativeLoadedPlan;
  unload(plan: number): void;
  /** Queues one program; inputs are copied before this returns. Resolves to the program's output slots. */
  run(
    plan: number,
    program: string,
    inputs: Record<string, Uint8Array>,
    options: NativeRunOptions,
  ): Promise<Record<string, ArrayBuffer>>;
  /** Allocates arena and scratch for the loaded plans, touches their pages and prepares their records, on the engine thread. */
  prepare(): Promise<object>;
  /** Stops the run under way between two records; its promise and those queued reject with "aborted". */
  abort(): void;
  progress(): NativeProgress;
  /** Seconds per op while profiling; `profile(false)` stops and clears. */
  profile(on: boolean): void;
  profileTimes(): NativeRecordTime[];
  /** Fills arena ranges with NaN as soon as their last reader has run: a test of the memory plan. */
  poison(on: boolean): void;
  /** Joins the engine thread and frees everything. */
  close(): void;
}

export interface NativeModule {
  capabilities(): NativeCapabilities;
  /** Every op, in the order of docs/plan-format.md. */
  opTable(): NativeOp[];
  /** Names of the targets that a backend has on this machine, best first. */
  targets(backend: string): string[];
  targetProperties(target: NativeTarget): NativeTargetProperties;
  /** What a plan needs beside its tensors, which need not exist. */
  planNeeds(plan: string, target: NativeTarget): NativePlanNeeds;
  createContext(options: NativeContextOptions): NativeContext;
  /**
   * Converts `elements` values of ggml type `type` at `byteOffset` of `file` and writes them as `dtype` at
   * `outputOffset` of `output` (created if absent, otherwise extended), on at most `threads` threads. Resolves when
   * written.
   */
  dequantize(
    file: string,
    byteOffset: number,
    type: number,
    elements: number,
    output: string,
    outputOffset: number,
    dtype: DType,
    threads: number,
  ): Promise<void>;
  /** Index of the first NaN or infinity in a range of a file, or -1; on at most `threads` threads. */
  firstNonFinite(
    file: string,
    byteOffset: number,
    dtype: DType,
    elements: number,
    threads: number,
  ): Promise<number>;
  /** CRC-32C (Castagnoli) of a buffer, continuing from `crc`. */
  crc32c(data: Uint8Array, crc: number): number;
  /** Has the kernel end this process with its parent; false where the system cannot. Called by shared/processes/parent_death.ts. */
  endWithParent(): boolean;
}
