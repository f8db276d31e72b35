/** Tasks on a model: examples read, scored part by part, and brought together. */

import { readFileRows } from '../../../components/datasets/llm/index.js';
import {
  type EvaluatedModel,
  type ExampleResult,
  type RecipeTask,
  type RowReader,
  taskDefinition,
  taskName,
} from '../../../components/evaluation/index.js';
import type { Score } from '../../../contracts/index.js';
import { digestOf } from '../../../shared/digest.js';
import { DataError } from '../../../shared/errors.js';

/** A task with its examples: everything about it that does not depend on the model. */
export interface PreparedTask {
  options: RecipeTask;
  /** Prefix of its metrics. */
  name: string;
  examples: readonly unknown[];
  /** sha256 over options and examples. */
  digest: string;
}

export interface TaskScores {
  name: string;
  task: string;
  metrics: Record<string, Score>;
  results: ExampleResult[];
}

/** Storage for the parts of a task's results, so that none is computed twice. */
export interface PartStore {
  read(part: number): Promise<ExampleResult[] | null>;
  write(part: number, results: readonly ExampleResult[]): Promise<void>;
}

/** Reads rows of any kind of file that datasets come in. */
export const readTaskRows: RowReader = async function* ({ path, limit, textUnit }) {
  let rows = 0;
  for await (const row of readFileRows(path, textUnit)) {
    if (limit !== null && rows >= limit) return;
    rows += 1;
    yield row;
  }
};

/** Reads the examples of every task, in order. @throws DataError */
export async function prepareTasks(tasks: readonly RecipeTask[]): Promise<PreparedTask[]> {
  const prepared: PreparedTask[] = [];
  for (const task of tasks) prepared.push(await prepareTask(task));
  return prepared;
}

/**
 * Reads a task's examples.
 * @throws DataError for rows that cannot be examples, and where there are none
 */
export async function prepareTask(options: RecipeTask): Promise<PreparedTask> {
  const { name: _name, when: _when, path: _path, ...partResults } = options;
  const name = taskName(options);
  const examples = await taskDefinition(options.task).examples(options, readTaskRows);
  if (examples.length === 0)
    throw new DataError(`the task '${name}' found no example in ${JSON.stringify(options.path ?? null)}`);
  return { options, name, examples, digest: digestOf({ own: partResults, examples }) };
}

/** Returns the number of parts that a task's results have. */
export const countParts = ({ options, examples }: PreparedTask): number =>
  Math.ceil(examples.length / taskDefinition(options.task).partSize);

export interface TaskProgress {
  name: string;
  /** Examples done, and all of them. */
  done: number;
  of: number;
}

/** Evaluates one task; parts that `store` has are taken from there. */
export async function evaluateTask(
  task: PreparedTask,
  model: EvaluatedModel,
  store: PartStore | null,
  progress: (progress: TaskProgress) => void,
  signal: AbortSignal,
): Promise<TaskScores> {
  const { options, name, examples } = task;
  const definition = taskDefinition(options.task);
  const results: ExampleResult[] = [];
  for (let start = 0; start < examples.length; start += definition.partSize) {
    signal.throwIfAborted();
    progress({ name, done: start, of: examples.length });
    const part = start / definition.partSize;
    let partResults = (await store?.read(part)) ?? null;
    if (partResults === null) {
      partResults = await definition.evaluate(
        examples.slice(start, start + definition.partSize),
        options,
        model,
      );
      await store?.write(part, partResults);
    }
    results.push(...partResults);
  }
  progress({ name, done: examples.length, of: examples.length });
  return aggregateScores(task, results);
}

/** Returns the metrics of a task's results. */
export function aggregateScores({ name, options }: PreparedTask, results: ExampleResult[]): TaskScores {
  const definition = taskDefinition(options.task);
  const estimates = Object.entries(definition.aggregate(results));
  const metrics = Object.fromEntries(
    estimates.map(([metric, estimate]) => [metric, { ...estimate, direction: definition.direction(metric) }]),
  );
  return { name, task: options.task, metrics, results };
}
