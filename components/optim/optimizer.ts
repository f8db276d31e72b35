import { z } from 'zod';
import type { Attrs } from '../../graph/index.js';

/**
 * What an optimizer adds to a recipe. To add one: its file here with this, its op of the same name in graph/ops (which
 * says what it keeps for each parameter and in what order it takes its scalars) and in native/cpu, and its line in the
 * three registries.
 */
export interface OptimizerDefinition<Schema extends z.ZodObject<{ name: z.ZodLiteral<string> }>> {
  /** `training.optimizer` with this name, which is also that of the op. */
  readonly schema: Schema;
  /** Attributes of the op's records but `weight_decay`. */
  attributes(options: z.infer<Schema>): Attrs;
  /**
   * The op's numbers of a step, by name.
   *
   * @param step from 1
   */
  scalars(options: z.infer<Schema>, step: number, learningRate: number): Record<string, number>;
}

/** Options that every optimizer has. */
export const decay = {
  weight_decay: z.number().min(0).default(0).describe('decoupled for adamw, added to the gradient for sgd'),
  no_decay: z
    .array(z.string())
    .default([])
    .describe(
      'globs of parameter names that are not decayed, e.g. "*norm.weight"; none are excluded by default, as in torch',
    ),
};
