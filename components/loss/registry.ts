/** Losses by name. An operator adds one with `registerLoss`; a recipe names it and never names code. */
import type { LossRule } from '../../graph/index.js';
import { Registry } from '../../shared/registry.js';
import { chunkedCe } from './chunked_ce.js';
import type { LossDefinition } from './definition.js';
import { linearCe } from './linear_ce.js';
import { maskedCe } from './masked_ce.js';

const registry = new Registry<LossDefinition>('loss', ({ name }) => name, [maskedCe, chunkedCe, linearCe]);

/** Adds a loss. Call it in `register()` of temporal.config.js. @throws UsageError where the name is taken */
export function registerLoss<Options>(definition: LossDefinition<Options>): void {
  registry.register(definition as unknown as LossDefinition);
}

export const lossDefinitions = (): LossDefinition[] => registry.entries;

/** `training.loss`: the name of a loss, or its name with its options. */
export type Loss = string | { readonly name: string; readonly [option: string]: unknown };

/** Returns what a recipe's loss adds to the graph. @throws UsageError for a name that is not registered */
export function lossRule(loss: Loss): LossRule {
  const options = typeof loss === 'string' ? { name: loss } : loss;
  const { schema, graph } = registry.find(options.name);
  return graph(schema.parse(options) as { name: string });
}
