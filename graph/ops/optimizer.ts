/**
 * The rules that the optimizers' ops share. Each works on state in place: inputs p, g, norm [1], max_norm [1] and its own scalars;
 * outputs p and the tensors that it keeps, each read before it is written. The gradient is scaled by
 * min(1, max_norm ÷ (norm + 1e-6)) unless max_norm is 0; a norm that is not finite changes nothing.
 */

import { GraphError } from '../ir/error.js';
import type { Value } from '../ir/graph.js';
import type { Op, OptimizerRules, OutputType, Tensor } from './op.js';
import { demand } from './op.js';
import { one } from './operands.js';

/** Operands of every optimizer's record. */
export const optimizerInputs = one('p', 'g', 'norm', 'max_norm', 'scalars');

/** The types of p and of `states` tensors like it. */
export function inferOptimizer(
  op: string,
  inputs: readonly Value[],
  scalars: number,
  states: number,
): OutputType[] {
  const [p, g, , , slot] = inputs;
  demand(
    inputs.length === 5 && p!.axes.join() === g!.axes.join() && slot!.shape[0] === scalars,
    op,
    inputs,
    `p, g like p, norm [1], max_norm [1] and ${scalars} scalars`,
  );
  return Array.from({ length: 1 + states }, () => ({ axes: p!.axes, dtype: 'f32' }));
}

/** The factor of the gradients; null where the norm is not finite. */
export function clipFactor(norm: Tensor, maxNorm: Tensor): number | null {
  const [total, most] = [norm.data[0]!, maxNorm.data[0]!];
  if (!Number.isFinite(total)) return null;
  return most === 0 ? 1 : Math.min(1, most / (total + 1e-6));
}

/** The scalars of a step by name, from their slot. */
export function scalarsByName<Name extends string>(
  names: readonly Name[],
  slot: Tensor,
): Record<Name, number> {
  return Object.fromEntries(names.map((name, i) => [name, slot.data[i]!])) as Record<Name, number>;
}

/** The input slot with an optimizer's scalars. */
export const scalarsSlot = (op: string): string => `${op}_scalars`;

/** The input slot with the norm that gradients are clipped to; 0 does not clip. */
export const maxNormSlot = 'max_norm';

/** @throws GraphError for an op that is not an optimizer's */
export function optimizerRules(op: Op): OptimizerRules {
  if (op.optimizer === undefined) throw new GraphError(`op ${op.name} is not an optimizer`);
  return op.optimizer;
}
