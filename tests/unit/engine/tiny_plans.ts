import type { DType, Plan, PlanBuffer, PlanRecord } from '../../../graph/ir/plan.js';

/** `name: dtype[shape]@space`, e.g. `x: f32[2,3]@input` or `a: bf16[4]@arena+64`. */
function buffer(text: string): PlanBuffer {
  const [, name, dtype, shape, space, offset] = /^(\S+): (\w+)\[([\d,]*)\]@(\w+)(?:\+(\d+))?$/.exec(text)!;
  return {
    name: name!,
    dtype: dtype as DType,
    shape: shape === '' ? [] : shape!.split(',').map(Number),
    space: space as PlanBuffer['space'],
    offset: offset === undefined ? null : Number(offset),
  };
}

/** A plan by hand: buffers as text, records naming their buffers. */
export function tinyPlan(
  buffers: string[],
  records: [op: string, inputs: string[], outputs: string[], attrs?: PlanRecord['attrs']][],
  options: { programs?: Plan['programs']; arenaBytes?: number } = {},
): Plan {
  const table = buffers.map(buffer);
  const index = (name: string) => table.findIndex((entry) => entry.name === name);
  return {
    version: 1,
    digest: 'tiny',
    name: 'tiny',
    arenaBytes: options.arenaBytes ?? 0,
    buffers: table,
    records: records.map(([op, inputs, outputs, attrs]) => ({
      op,
      inputs: inputs.map(index),
      outputs: outputs.map(index),
      attrs: attrs ?? {},
    })),
    programs: options.programs ?? { go: [0, records.length] },
  };
}
