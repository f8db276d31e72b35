/** Dataset types by name. An operator adds one with `registerDataset`; a recipe names it and never names code. */
import { Registry } from '../../../../shared/registry.js';
import { chat } from './chat.js';
import { columnMapped } from './column_mapped.js';
import type { DatasetDefinition } from './definition.js';
import { hellaswag } from './hellaswag.js';
import { mock, mockPacked } from './mock.js';
import { pretokenized } from './pretokenized.js';
import { squad } from './squad.js';
import { text } from './text.js';

const registry = new Registry<DatasetDefinition>('dataset type', ({ type }) => type);

/**
 * Adds a dataset type. Its schema is a strict object with a literal `dataset_type`. Call it in `register()` of
 * temporal.config.js, which every process and tokenizing thread runs before the recipe's schema is first used.
 *
 * @throws UsageError where the type is registered already
 */
export function registerDataset<Options>(definition: DatasetDefinition<Options>): void {
  registry.register(definition as DatasetDefinition);
}

/** Returns a type's definition. @throws UsageError that lists the known ones */
export const datasetDefinition = (type: string): DatasetDefinition => registry.find(type);

export const datasetDefinitions = (): DatasetDefinition[] => registry.entries;

registerDataset(columnMapped);
registerDataset(text);
registerDataset(chat);
registerDataset(squad);
registerDataset(hellaswag);
registerDataset(pretokenized);
registerDataset(mock);
registerDataset(mockPacked);
