/** A plan that widens or narrows whole tensors of a context, such as weights to the float32 masters they are trained in. */
import { GraphBuilder } from './builder/builder.js';
import type { DType, Plan } from './ir/plan.js';
import { defaultAlignment } from './passes/liveness.js';
import { assemblePlan } from './passes/plan.js';

export interface Cast {
  readonly from: { readonly name: string; readonly dtype: DType };
  readonly to: { readonly name: string; readonly dtype: DType };
  readonly shape: readonly number[];
}

/**
 * A plan with the program `cast`: every `to` from its `from`, both tensors of the context.
 * @param alignment that the target needs, bytes
 */
export function compileCast(casts: readonly Cast[], alignment = defaultAlignment): Plan {
  const builder = new GraphBuilder('cast', {});
  for (const { from, to, shape } of casts) {
    const tensor = ({ name, dtype }: Cast['from'], role: 'frozen' | 'trained') =>
      builder.state(name, role, dtype, shape.join(' '));
    const [x, y] = [tensor(from, 'frozen'), tensor(to, 'trained')];
    builder.append({ op: 'cast', inputs: [x], outputs: [y], attrs: {} });
  }
  return assemblePlan(builder.build(), { program: 'cast', alignment }).plan;
}
