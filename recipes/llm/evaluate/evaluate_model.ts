/** `temper evaluate`: tasks on a model folder, without a run. */
import { z } from 'zod';
import { loadRecipe } from '../../../components/config/index.js';
import { type RecipeTask, recipeTaskSchema, taskName } from '../../../components/evaluation/index.js';
import { resolveModel } from '../../../components/models/index.js';
import { defaultDevice } from '../../../engine/index.js';
import { UsageError } from '../../../shared/errors.js';
import type { StepHooks } from '../../run/progress.js';
import { openFile } from '../open_file.js';
import { evaluateTask, type PreparedTask, prepareTask, type TaskScores } from './evaluate_tasks.js';
import { FolderModel } from './evaluated_model.js';

export interface EvaluateModelOptions {
  /** Folder, .gguf file or Hugging Face id. */
  model: string;
  /** PEFT adapter folder, or null. */
  adapter: string | null;
  precision: 'fp32' | 'bf16';
  tasks: readonly RecipeTask[];
  /** File for one JSON line an example, on disk or s3://; null for none. */
  output: string | null;
}

export interface ModelScores {
  tasks: Omit<TaskScores, 'results'>[];
  seconds: number;
}

/** Tasks as the command line has them: a file with a list `tasks`, and `[NAME=]TASK:key=value,…`. */
export interface TaskSource {
  file: string | null;
  inline: readonly string[];
}

const tasksSchema = z.strictObject({
  get tasks() {
    return z.array(recipeTaskSchema()).min(1);
  },
});

/**
 * Reads and checks tasks.
 * @throws InvalidRecipe with every problem at once, and UsageError for none or two of a name
 */
export async function readTasks({ file, inline }: TaskSource): Promise<RecipeTask[]> {
  const tasks: RecipeTask[] = [];
  if (file !== null) tasks.push(...(await loadRecipe({ file }, { schema: tasksSchema })).value.tasks);
  if (inline.length > 0) {
    const recipe = { tasks: inline.map(parseTask) };
    tasks.push(...(await loadRecipe({ recipe }, { schema: tasksSchema, base: process.cwd() })).value.tasks);
  }
  if (tasks.length === 0) throw new UsageError('no task: give --task NAME:path=FILE, or --tasks FILE.yaml');
  const names = tasks.map(taskName);
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined)
    throw new UsageError(`two tasks are called '${twice}': name one of them, as in --task other=${twice}:…`);
  return tasks;
}

/** Returns `facts=json_fields:path=a.jsonl,columns.answer=facts` as an object. */
function parseTask(text: string): Record<string, unknown> {
  const [, name, task, rest] = /^(?:([^=:,]+)=)?([^=:,]+)(?::(.*))?$/s.exec(text) ?? [];
  if (task === undefined)
    throw new UsageError(`--task ${text}: write it as TASK:key=value,… or NAME=TASK:key=value,…`);
  const options: Record<string, unknown> = { task, ...(name === undefined ? {} : { name }) };
  for (const pair of rest === undefined || rest === '' ? [] : rest.split(',')) {
    const cut = pair.indexOf('=');
    if (cut < 1) throw new UsageError(`--task ${text}: '${pair}' is not key=value`);
    const keys = pair.slice(0, cut).split('.');
    let parent = options;
    for (const key of keys.slice(0, -1)) {
      parent[key] ??= {};
      parent = parent[key] as Record<string, unknown>;
    }
    parent[keys.at(-1)!] = scalar(pair.slice(cut + 1));
  }
  return options;
}

/** Numbers, true, false and null as such; everything else as text. */
const scalar = (text: string): unknown =>
  /^(?:-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|true|false|null)$/i.test(text) ? JSON.parse(text.toLowerCase()) : text;

/**
 * Evaluates a model folder.
 * @throws DataError for data, ModelError for the model's or the adapter's faults
 */
export async function evaluateModel(options: EvaluateModelOptions, hooks: StepHooks): Promise<ModelScores> {
  const prepared: PreparedTask[] = [];
  // All data is read before the model is opened: a wrong path costs no time.
  for (const task of options.tasks) prepared.push(await prepareTask(task));
  const { folder } = await resolveModel(options.model, {
    ggufDType: options.precision === 'fp32' ? 'f32' : 'bf16',
    onProgress: ({ stage, done, total }) => hooks.progress(total > 0 ? done / total : null, stage),
    onNotice: (text) => hooks.progress(null, text),
  });
  const started = performance.now();
  let [shown, tokens] = ['', 0];
  const tell = () => hooks.progress(null, tokens === 0 ? shown : `${shown}, ${tokens} tokens`);
  const model = await FolderModel.open({
    folder,
    adapter: options.adapter,
    precision: options.precision,
    device: defaultDevice(),
    hooks,
    onWork: (done) => {
      tokens = done.tokens;
      tell();
    },
  });
  const scores: TaskScores[] = [];
  try {
    for (const task of prepared) {
      const progress = ({ name, done, of }: { name: string; done: number; of: number }) => {
        shown = `${name} ${done}/${of}`;
        tell();
      };
      scores.push(await evaluateTask(task, model, null, progress, hooks.signal));
    }
  } finally {
    await model.close();
  }
  if (options.output !== null) await writeDetails(options.output, scores);
  return {
    tasks: scores.map(({ results: _results, ...score }) => score),
    seconds: (performance.now() - started) / 1000,
  };
}

async function writeDetails(output: string, scores: readonly TaskScores[]): Promise<void> {
  const { storage, key } = await openFile(output);
  await storage.write(key, detailLines(scores));
}

async function* detailLines(scores: readonly TaskScores[]): AsyncGenerator<Uint8Array> {
  for (const { name, results } of scores) {
    for (const { id, scores: own, details } of results)
      yield Buffer.from(`${JSON.stringify({ task: name, id, ...own, ...details })}\n`);
  }
}
