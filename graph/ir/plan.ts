/** The plan: what the graph's passes hand to the native engine. `docs/plan-format.md` is its reference. */

export type DType = 'f32' | 'bf16' | 'f16' | 'f64' | 'i32' | 'u8' | 'i8' | 'f8e4m3' | 'f8e5m2';

export const dtypeBytes: Readonly<Record<DType, number>> = {
  f32: 4,
  bf16: 2,
  f16: 2,
  f64: 8,
  i32: 4,
  u8: 1,
  i8: 1,
  f8e4m3: 1,
  f8e5m2: 1,
};

export type Space = 'arena' | 'tensor' | 'input' | 'output';

export interface PlanBuffer {
  name: string;
  dtype: DType;
  shape: number[];
  space: Space;
  /** Byte offset into the arena; null in the other spaces and for windows. */
  offset: number | null;
  /** A window of rows of another buffer: its index, and the first row. */
  view: { of: number; row: number } | null;
}

export type Accumulate = 'never' | 'always' | 'after_first';

export type AttrValue = number | boolean | string | number[] | boolean[];

/** Indices into `buffers`, by the name of the group. */
export type OperandGroups = Record<string, number[]>;

/**
 * Queues of records that run next to each other, by the number that records name. Uploads and downloads have a stream each:
 * on one, the next micro-batch's upload would wait for a snapshot, and its compute with it.
 */
export const streams = { compute: 0, gather: 1, reduce: 2, upload: 3, download: 4 } as const;

export type Stream = (typeof streams)[keyof typeof streams];

/** The micro-batches of a step that a record is part of. */
export type When = 'always' | 'first' | 'last';

export interface PlanRecord {
  op: string;
  inputs: OperandGroups;
  outputs: OperandGroups;
  attrs: Record<string, AttrValue>;
  stream: Stream;
  /** Indices into `events`. */
  waits: number[];
  signals: number[];
  when: When;
  /** For traces, profiles and messages: `forward`, `backward`, `update`, … and `layers.3`. */
  phase: string;
  scope: string;
}

export interface PlanSegment {
  /** Records [from, to). */
  from: number;
  to: number;
  /** Runs the segment as often as the i32 [1] input slot `count` (a buffer) says, at most `max` times. */
  loop: { count: number; max: number } | null;
}

export interface StepItem {
  program: string;
  /** Once or more often: micro-batches. */
  repeat: boolean;
  optional: boolean;
}

export interface Plan {
  version: 2;
  /** sha256 of the canonical JSON of everything else. */
  digest: string;
  name: string;
  /** Alignment of offsets in the arena, bytes. */
  alignment: number;
  arenaBytes: number;
  buffers: PlanBuffer[];
  /** Names. */
  events: string[];
  records: PlanRecord[];
  segments: PlanSegment[];
  /** Program name → half-open range of segments. */
  programs: Record<string, [from: number, to: number]>;
  /** The order in which programs are queued, over and over. Empty: any order. */
  step: StepItem[];
}
