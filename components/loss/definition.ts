/** The contract of a loss. */
import type { z } from 'zod';
import type { LossRule } from '../../graph/index.js';

/** @typeParam Options what `training.loss` holds, validated: the name, and the loss's own options */
export interface LossDefinition<Options = { name: string }> {
  /** The name that a recipe has in `training.loss`. */
  readonly name: string;
  /**
   * A strict object with a literal `name`, and what can be set. Where every option has a default, a recipe may write the
   * name alone.
   */
  readonly schema: z.ZodObject;
  /** Returns what the loss adds to the graph. */
  graph(options: Options): LossRule;
}
