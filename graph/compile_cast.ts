/** A plan that widens or narrows whole tensors of a context, such as weights to the float32 masters they are trained in. */

import type { DType, Plan, PlanBuffer } from './ir/plan.js';
import { digestOf } from './passes/plan.js';

export interface Cast {
  readonly from: { readonly name: string; readonly dtype: DType };
  readonly to: { readonly name: string; readonly dtype: DType };
  readonly shape: readonly number[];
}

/** A plan with the program `cast`: every `to` from its `from`, both tensors of the context. */
export function compileCast(casts: readonly Cast[]): Plan {
  const buffer = ({ name, dtype }: Cast['from'], shape: readonly number[]): PlanBuffer => ({
    name,
    dtype,
    shape: [...shape],
    space: 'tensor',
    offset: null,
  });
  const body = {
    version: 1 as const,
    name: 'cast',
    arenaBytes: 0,
    buffers: casts.flatMap(({ from, to, shape }) => [buffer(from, shape), buffer(to, shape)]),
    records: casts.map((_, index) => ({
      op: 'cast',
      inputs: [2 * index],
      outputs: [2 * index + 1],
      attrs: {},
    })),
    programs: { cast: [0, casts.length] as [number, number] },
  };
  return { ...body, digest: digestOf(body) };
}
