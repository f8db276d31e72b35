/** The contract of an optimizer. */
import { z } from 'zod';
import type { Attrs } from '../../graph/index.js';

/** The options that every optimizer has. */
export interface Optimizer {
  name: string;
  weight_decay: number;
  no_decay: string[];
}

/**
 * An optimizer: its part of a recipe, and of a step.
 *
 * @typeParam Options `training.optimizer` with this name, validated
 */
export interface OptimizerDefinition<Options extends Optimizer = Optimizer> {
  /** The name that a recipe has in `training.optimizer.name`. */
  readonly name: string;
  /** A strict object with a literal `name`, the optimizer's own options and `...decay`; all but the name have defaults. */
  readonly schema: z.ZodObject;
  /** The op that updates a parameter: it says which tensors are kept for each and which numbers a step needs. */
  readonly op: string;
  /** Returns the attributes of the op's records but `weight_decay`. */
  attributes(options: Options): Attrs;
  /**
   * Returns the op's numbers of a step, by name.
   *
   * @param step from 1
   */
  scalars(options: Options, step: number, learningRate: number): Record<string, number>;
}

/** The schema of the options that every optimizer has. */
export const decay = {
  weight_decay: z
    .number()
    .min(0)
    .default(0)
    .describe('weight decay; decoupled for adamw, added to the gradient for sgd'),
  no_decay: z
    .array(z.string())
    .default([])
    .describe(
      'globs of parameter names that are not decayed, e.g. "*norm.weight"; none are excluded by default, as in torch',
    ),
};
