/** Dataset types by name. An operator adds one with `registerDataset`; a recipe names it and never names code. */
import { UsageError } from '../../../../shared/errors.js';
import { chat } from './chat.js';
import { columnMapped } from './column_mapped.js';
import type { DatasetDefinition } from './definition.js';
import { hellaswag } from './hellaswag.js';
import { mock, mockPacked } from './mock.js';
import { pretokenized } from './pretokenized.js';
import { squad } from './squad.js';
import { text } from './text.js';

const definitions = new Map<string, DatasetDefinition>();

/**
 * Adds a dataset type. Its schema is a strict object with a literal `dataset_type`. Call it in `register()` of
 * temporal.config.js, which every process and tokenising thread runs before the recipe's schema is first used.
 *
 * @throws UsageError where the type is registered already
 */
export function registerDataset<Options>(definition: DatasetDefinition<Options>): void {
  if (definitions.has(definition.type))
    throw new UsageError(`the dataset type '${definition.type}' is registered twice`);
  definitions.set(definition.type, definition as DatasetDefinition);
}

export function datasetDefinition(type: string): DatasetDefinition {
  const definition = definitions.get(type);
  if (definition === undefined)
    throw new UsageError(`unknown dataset type '${type}'; known are ${[...definitions.keys()].join(', ')}`);
  return definition;
}

export const datasetDefinitions = (): DatasetDefinition[] => [...definitions.values()];

registerDataset(columnMapped);
registerDataset(text);
registerDataset(chat);
registerDataset(squad);
registerDataset(hellaswag);
registerDataset(pretokenized);
registerDataset(mock);
registerDataset(mockPacked);
