/** Optimizers by name. An operator adds one with `registerOptimizer`; a recipe names it and never names code. */
import { z } from 'zod';
import { type OptimizerSpec, updateInputs } from '../../graph/index.js';
import { compileGlob } from '../../shared/patterns/glob.js';
import { Registry } from '../../shared/registry.js';
import { adamw } from './adamw.js';
import type { Optimizer, OptimizerDefinition } from './definition.js';
import { sgd } from './sgd.js';

const registry = new Registry<OptimizerDefinition>('optimizer', ({ name }) => name);

/** Adds an optimizer. Call it in `register()` of temporal.config.js. @throws UsageError where the name is taken */
export function registerOptimizer<Options extends Optimizer>(definition: OptimizerDefinition<Options>): void {
  registry.register(definition as unknown as OptimizerDefinition);
}

export const optimizerDefinitions = (): OptimizerDefinition[] => registry.entries;

registerOptimizer(adamw);
registerOptimizer(sgd);

/** Returns the schema of `training.optimizer`, with every optimizer that is registered when it is first used. */
export function optimizerSchema(): z.ZodType<Optimizer> {
  const [first, ...rest] = optimizerDefinitions().map(({ schema }) => schema);
  return z.discriminatedUnion('name', [first!, ...rest]) as unknown as z.ZodType<Optimizer>;
}

/** Returns what the compiler needs to know of a recipe's optimizer. */
export function optimizerSpec(optimizer: Optimizer): OptimizerSpec {
  const { op, attributes } = registry.find(optimizer.name);
  const globs = optimizer.no_decay.map((glob) =>
    compileGlob(glob, 'training.optimizer.no_decay', { dot: true }),
  );
  const isExcluded = (parameter: string) => globs.some((matches) => matches(parameter));
  return {
    op,
    attrs: attributes(optimizer),
    weightDecay: (parameter) => (isExcluded(parameter) ? 0 : optimizer.weight_decay),
  };
}

/**
 * Returns the inputs of the program `update`.
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
  const { op, scalars } = registry.find(optimizer.name);
  return updateInputs(op, scalars(optimizer, step, learningRate), clipNorm ?? 0);
}
