/** The plan: what the graph's passes hand to the native engine. `docs/plan-format.md` is its reference. */

export type DType = 'f32' | 'bf16' | 'f16' | 'i32';

export const dtypeBytes: Record<DType, number> = { f32: 4, bf16: 2, f16: 2, i32: 4 };

export type Space = 'arena' | 'tensor' | 'input' | 'output';

export interface PlanBuffer {
  name: string;
  dtype: DType;
  shape: number[];
  space: Space;
  /** Byte offset into the arena; null in the other spaces. */
  offset: number | null;
}

export type Accumulate = 'never' | 'always' | 'after_first';

export type AttrValue = number | boolean | string | number[] | boolean[];

export interface PlanRecord {
  op: string;
  /** Indices into `buffers`. */
  inputs: number[];
  outputs: number[];
  attrs: Record<string, AttrValue>;
}

export interface Plan {
  version: 1;
  /** sha256 of the canonical JSON of everything else. */
  digest: string;
  name: string;
  arenaBytes: number;
  buffers: PlanBuffer[];
  records: PlanRecord[];
  /** Program name → half-open range of records. */
  programs: Record<string, [from: number, to: number]>;
}
