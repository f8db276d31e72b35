/** Tasks by name. An operator adds one with `registerTask`; a recipe names it and never names code. */
import { Registry } from '../../../shared/registry.js';
import type { TaskDefinition } from '../scoring/task.js';
import { hellaswag } from './hellaswag.js';
import { jsonFields } from './json_fields.js';
import { multipleChoice } from './multiple_choice.js';
import { perplexity } from './perplexity.js';
import { samples } from './samples.js';
import { squad } from './squad.js';

const registry = new Registry<TaskDefinition>('task', ({ task }) => task);

/** Adds a task. Call it in `register()` of temporal.config.js. @throws UsageError where the task is registered already */
export function registerTask<Options, Example>(definition: TaskDefinition<Options, Example>): void {
  registry.register(definition as unknown as TaskDefinition);
}

/** Returns a task's definition. @throws UsageError that lists the known ones */
export const taskDefinition = (task: string): TaskDefinition => registry.find(task);

export const taskDefinitions = (): TaskDefinition[] => registry.entries;

registerTask(hellaswag);
registerTask(multipleChoice);
registerTask(squad);
registerTask(perplexity);
registerTask(jsonFields);
registerTask(samples);
