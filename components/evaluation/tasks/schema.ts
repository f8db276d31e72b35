/** The recipe's `evaluation` section. */
import { z } from 'zod';
import type { Direction, TaskOptions } from '../scoring/task.js';
import { taskDefinition, taskDefinitions } from './registry.js';

/** A task as a recipe has it. The keys beyond these are its own. */
export interface RecipeTask extends TaskOptions {
  name: string | null;
  when: 'end' | 'epoch';
}

const named = {
  name: z
    .string()
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
      'letters, digits, ".", "_" and "-", starting with a letter or digit',
    )
    .nullable()
    .default(null)
    .describe("prefix of its metrics, as in facts/valid_json; left out: the task's own name"),
  when: z
    .enum(['end', 'epoch'])
    .default('end')
    .describe('before and after training, or after each epoch as well'),
};

/** Returns the schema of one task, of any registered kind. */
export function recipeTaskSchema(): z.ZodType<RecipeTask> {
  const kinds = taskDefinitions().map(({ schema }) =>
    schema.safeExtend(named).describe(schema.description ?? ''),
  ) as unknown as [z.ZodObject, ...z.ZodObject[]];
  return z.discriminatedUnion('task', kinds) as unknown as z.ZodType<RecipeTask>;
}

const bound = z
  .strictObject({
    min: z.number().optional().describe('smallest value that passes'),
    max: z.number().optional().describe('largest value that passes'),
  })
  .refine(({ min, max }) => min !== undefined || max !== undefined, 'needs min or max');

/** Schema of the section. Tasks are looked up when it is first used, so that registered ones are in it. */
export const evaluationSchema = z
  .strictObject({
    every_steps: z
      .int()
      .min(1)
      .nullable()
      .default(50)
      .describe('optimizer steps between validations; null validates at ends of epochs only'),
    load_best: z
      .boolean()
      .default(false)
      .describe('publish the checkpoint with the best value of `metric` instead of the last one'),
    metric: z
      .string()
      .min(1)
      .default('val_loss')
      .describe(
        'metric that load_best compares: val_loss, val_loss/<set>, or a metric of a task with `when: epoch`',
      ),
    get tasks(): z.ZodDefault<z.ZodArray<z.ZodType<RecipeTask>>> {
      return z
        .array(recipeTaskSchema())
        .default([])
        .describe('evaluation of the model in addition to its loss');
    },
    precision: z
      .enum(['fp32', 'bf16'])
      .default('fp32')
      .describe('precision of products and activations when tasks score log-likelihoods'),
    require: z
      .record(z.string(), bound)
      .default({})
      .describe(
        'bounds of final metrics, e.g. {facts/valid_json: {min: 0.8}}; nothing is published outside them',
      ),
  })
  .superRefine(({ tasks, metric, load_best, require }, context) => {
    const issue = (path: (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    const names = tasks.map(taskName);
    for (const [index, name] of names.entries()) {
      if (names.indexOf(name) < index)
        issue(['tasks', index, 'name'], `a second task called '${name}': give it another name`);
    }
    if (load_best) {
      const problem = watchedProblem(metric, tasks);
      if (problem !== null) issue(['metric'], problem);
    }
    for (const name of Object.keys(require)) {
      if (findDirection(name, tasks) === null) issue(['require', name], unknownMetric(name, tasks));
    }
  });
export type EvaluationOptions = z.output<typeof evaluationSchema>;

export const taskName = (task: Pick<RecipeTask, 'task' | 'name'>): string => task.name ?? task.task;

/** Returns whether training itself measures it, as it runs. */
export const isValidationMetric = (metric: string): boolean =>
  metric === 'val_loss' || metric.startsWith('val_loss/');

/** Returns the direction in which a metric is better, or null when there is none of that name. */
export function findDirection(metric: string, tasks: readonly RecipeTask[]): Direction | null {
  if (isValidationMetric(metric) || metric === 'perplexity') return 'lower';
  const owner = findOwner(metric, tasks);
  return owner === null ? null : taskDefinition(owner.task.task).direction(owner.own);
}

/** Returns why a run cannot watch this metric while it trains; null when it can. */
export function watchedProblem(metric: string, tasks: readonly RecipeTask[]): string | null {
  if (findDirection(metric, tasks) === null || metric === 'perplexity') return unknownMetric(metric, tasks);
  const task = findOwner(metric, tasks)?.task;
  if (task === undefined || task.when === 'epoch') return null;
  return `'${metric}' is known only at the end: give the task '${taskName(task)}' when: epoch`;
}

/** Returns the task that a metric `<name>/<own>` belongs to. */
function findOwner(metric: string, tasks: readonly RecipeTask[]): { task: RecipeTask; own: string } | null {
  const task = tasks.find((candidate) => metric.startsWith(`${taskName(candidate)}/`));
  return task === undefined ? null : { task, own: metric.slice(taskName(task).length + 1) };
}

function unknownMetric(metric: string, tasks: readonly RecipeTask[]): string {
  const metricNames = tasks.map((task) => `${taskName(task)}/ (${taskDefinition(task.task).metrics})`);
  return `there is no metric '${metric}'; there are ${['val_loss', ...metricNames].join('; ')}`;
}
