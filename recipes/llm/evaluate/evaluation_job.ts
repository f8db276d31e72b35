/** Tasks on one model of a run: what an evaluating process does. */
import { taskName } from '../../../components/evaluation/index.js';
import type { EvaluationJob } from '../../../contracts/index.js';
import { cpuDevice } from '../../../engine/index.js';
import type { StepHooks } from '../../run/progress.js';
import { openRun } from '../kind.js';
import { evaluateTask, prepareTask } from './evaluate_tasks.js';
import { FolderModel } from './evaluated_model.js';
import { storedParts, taskFolder } from './evaluation_results.js';

/** Computes what is missing of the job's tasks, in this process or another one. */
export type JobRunner = (job: EvaluationJob, hooks: StepHooks) => Promise<void>;

/** Computes it in this process. */
export const runEvaluationJob: JobRunner = async (job, hooks) => {
  const { recipe, storage } = await openRun(job.run);
  const { tasks, precision } = recipe.evaluation;
  const jobTasks = tasks.filter((task) => job.tasks.includes(taskName(task)));
  let [done, of] = [0, 0];
  const prepared = [];
  for (const task of jobTasks) prepared.push(await prepareTask(task));
  for (const { examples } of prepared) of += examples.length;
  const { model: folder, adapter } = job;
  let text = '';
  const model = await FolderModel.open({
    folder,
    adapter,
    precision,
    // The host's accelerators are its ranks'.
    device: cpuDevice,
    // Exporting the model for generation says what it does.
    hooks: { signal: hooks.signal, progress: (_fraction, doing) => hooks.progress(done / of, doing) },
    onWork: () => hooks.progress(done / of, text),
  });
  try {
    for (const task of prepared) {
      const store = storedParts(storage, taskFolder(job.results, task));
      const before = done;
      await evaluateTask(
        task,
        model,
        store,
        (progress) => {
          done = before + progress.done;
          text = `${progress.name} ${progress.done}/${progress.of}`;
          hooks.progress(done / of, text);
        },
        hooks.signal,
      );
    }
  } finally {
    await model.close();
  }
};
