/** Every optimizer, by the name that recipe, graph and engine share. */
import { z } from 'zod';
import { type OptimizerSpec, updateInputs } from '../../graph/index.js';
import { compileGlob } from '../../shared/patterns/glob.js';
import { adamw } from './adamw.js';
import type { OptimizerDefinition } from './optimizer.js';
import { sgd } from './sgd.js';

const definitions = { adamw, sgd };

/** `training.optimizer`. */
export const optimizerSchema = z.discriminatedUnion('name', [adamw.schema, sgd.schema]);
export type Optimizer = z.infer<typeof optimizerSchema>;

const definitionOf = ({ name }: Optimizer) =>
  definitions[name] as OptimizerDefinition<z.ZodObject<{ name: z.ZodLiteral<string> }>>;

/** What the compiler needs to know of the recipe's optimizer. */
export function optimizerSpec(optimizer: Optimizer): OptimizerSpec {
  const globs = optimizer.no_decay.map((glob) =>
    compileGlob(glob, 'training.optimizer.no_decay', { dot: true }),
  );
  const excluded = (parameter: string) => globs.some((matches) => matches(parameter));
  return {
    op: optimizer.name,
    attrs: definitionOf(optimizer).attributes(optimizer),
    weightDecay: (parameter) => (excluded(parameter) ? 0 : optimizer.weight_decay),
  };
}

/**
 * The inputs of the program `update`.
 *
 * @param step from 1
 * @param clipNorm global norm that gradients are clipped to; null does not clip
 */
export function optimizerInputs(
  optimizer: Optimizer,
  step: number,
  learningRate: number,
  clipNorm: number | null,
): Record<string, Float32Array> {
  const scalars = definitionOf(optimizer).scalars(optimizer, step, learningRate);
  return updateInputs(optimizer.name, scalars, clipNorm ?? 0);
}
