/** Tasks by name. An operator adds one with `registerTask`; a recipe names it and never names code. */
import { UsageError } from '../../../shared/errors.js';
import type { TaskDefinition } from '../scoring/task.js';
import { hellaswag } from './hellaswag.js';
import { jsonFields } from './json_fields.js';
import { multipleChoice } from './multiple_choice.js';
import { perplexity } from './perplexity.js';
import { samples } from './samples.js';
import { squad } from './squad.js';

const definitions = new Map<string, TaskDefinition>();

/** Adds a task. Call it in `register()` of temporal.config.ts, so that every process knows it. */
export function registerTask<Options, Example>(definition: TaskDefinition<Options, Example>): void {
  if (definitions.has(definition.task))
    throw new UsageError(`the task '${definition.task}' is registered twice`);
  definitions.set(definition.task, definition as unknown as TaskDefinition);
}

export function taskDefinition(task: string): TaskDefinition {
  const definition = definitions.get(task);
  if (definition === undefined)
    throw new UsageError(`unknown task '${task}'; known are ${[...definitions.keys()].join(', ')}`);
  return definition;
}

export const taskDefinitions = (): TaskDefinition[] => [...definitions.values()];

registerTask(hellaswag);
registerTask(multipleChoice);
registerTask(squad);
registerTask(perplexity);
registerTask(jsonFields);
registerTask(samples);
