/** Tasks on one model of a run: what is stored is read, the rest is computed in between. */
import {
  type CheckpointEntry,
  type EvaluationJob,
  evaluationPrefix,
  type VerifiedModel,
} from '../../../contracts/index.js';
import { digestOf } from '../../../shared/digest.js';
import { DataError } from '../../../shared/errors.js';
import type { StepHooks } from '../../run/progress.js';
import type { OpenRun } from '../kind.js';
import { stageBase, stageCommit } from '../model_folder/staged_model.js';
import { aggregateScores, type PreparedTask, type TaskScores } from './evaluate_tasks.js';
import type { JobRunner } from './evaluation_job.js';
import { readResults, storedParts, taskFolder } from './evaluation_results.js';

export interface Subject {
  run: OpenRun;
  model: VerifiedModel;
  tasks: readonly PreparedTask[];
  /** Null: what training began with. */
  commit: CheckpointEntry | null;
}

/** Returns the scores of every task, in their order. Only what no earlier attempt has stored is computed. */
export async function scoreSubject(
  subject: Subject,
  runner: JobRunner,
  hooks: StepHooks,
): Promise<TaskScores[]> {
  const { run, tasks } = subject;
  const results = resultsFolder(subject);
  const stored = (task: PreparedTask) =>
    readResults(task, storedParts(run.storage, taskFolder(results, task)));
  const missing: string[] = [];
  for (const task of tasks) if ((await stored(task)) === null) missing.push(task.name);
  if (missing.length > 0) await compute(subject, results, missing, runner, hooks);
  const scores: TaskScores[] = [];
  for (const task of tasks) {
    const storedResults = await stored(task);
    if (storedResults === null)
      throw new DataError(
        `the data of the task '${task.name}' changed while it was evaluated; start the run again`,
      );
    scores.push(aggregateScores(task, storedResults));
  }
  return scores;
}

/** Returns the folder of a model's results, named after the step for people and after what decides the results. */
function resultsFolder({ run: { recipe }, model, commit }: Subject): string {
  const { precision } = recipe.evaluation;
  const key =
    commit === null
      ? {
          model: model.digest,
          overrides: recipe.model.config_overrides,
          adapter: recipe.peft?.init_from ?? null,
        }
      : { commit: commit.id };
  const step = String(commit?.trainer.step ?? 0).padStart(8, '0');
  return `${evaluationPrefix}step-${step}-${digestOf({ ...key, precision }).slice(0, 12)}`;
}

async function compute(
  { run, model, commit }: Subject,
  results: string,
  tasks: string[],
  runner: JobRunner,
  hooks: StepHooks,
): Promise<void> {
  const staged =
    commit === null
      ? await stageBase(run, model.folder)
      : await stageCommit(run, model.folder, commit, hooks);
  try {
    const job: EvaluationJob = {
      version: 1,
      run: run.run,
      model: staged.model,
      adapter: staged.adapter,
      results,
      tasks,
    };
    await runner(job, hooks);
  } finally {
    await staged.dispose();
  }
}
