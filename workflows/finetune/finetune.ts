/** The `finetune` workflow: one run of a recipe, from its data to a published model, whatever happens on the way. */
import {
  CancellationScope,
  ContinueAsNew,
  defineQuery,
  defineSignal,
  setHandler,
} from '@temporalio/workflow';
import type { HostLost } from '../../contracts/activities.js';
import type { FinetuneResult } from '../../contracts/finetune.js';
import type { Progress } from '../../contracts/gang.js';
import { queryNames, signalNames } from '../../contracts/names.js';
import type { RunState, RunStatus } from '../../contracts/run_state.js';
import { newBudget } from './budget.js';
import { control } from './control_activities.js';
import { asWorkflowFailure, failureMessage } from './failures.js';
import { now, Run } from './run.js';
import { persist, runStep } from './steps.js';
import { Training } from './training.js';

/**
 * @param input the recipe itself, `{"recipe": "<uri>"}`, or a Submission; `admit` validates it
 * @param carried the state of the run that continued as this one; clients leave it out
 * @throws ApplicationFailure whose type is the code of a TemperError (`InvalidRecipe`, `DataError`, …)
 */
export async function finetune(input: unknown, carried?: RunState): Promise<FinetuneResult> {
  const run = new Run(carried);
  const training = new Training(run, input);
  listen(run, training);
  try {
    if (run.state.admission === null) {
      const completed = await admitRun(run, input);
      if (completed !== null) return completed;
    }
    await prepare(run);
    await training.train();
    const result = await publish(run);
    const { claim } = run;
    await persist(run, () =>
      control.finish({ version: 1, run: run.admitted.run, claim, end: { state: result.state, result } }),
    );
    run.enter(result.state);
    return result;
  } catch (error) {
    if (error instanceof ContinueAsNew) throw error;
    const failure = asWorkflowFailure(error);
    await CancellationScope.nonCancellable(() => recordFailure(run, training, failure));
    throw failure;
  }
}

/** Handlers are set before the first await, so that every message finds one. */
function listen(run: Run, training: Training): void {
  const { state } = run;
  setHandler(defineSignal(signalNames.pause), async () => {
    if (state.requests.paused || state.requests.stopping) return;
    run.request({ paused: true });
    run.record('paused', 'requested');
    if (state.phase === 'training' || state.phase === 'waiting') run.enter('paused');
    training.deliver();
    await run.writeTimeline();
  });
  setHandler(defineSignal(signalNames.resume), async () => {
    if (!state.requests.paused) return;
    run.request({ paused: false });
    run.record('unpaused', 'requested');
    if (state.phase === 'paused') run.enter(state.grant === null ? 'waiting' : 'training');
    training.deliver();
    await run.writeTimeline();
  });
  setHandler(defineSignal(signalNames.stop), () => {
    if (state.requests.stopping) return;
    run.request({ paused: false, stopping: true });
    training.deliver();
  });
  setHandler(defineSignal(signalNames.checkpointNow), () => {
    run.request({ checkpoint: state.requests.checkpoint + 1 });
    training.deliver();
  });
  setHandler(defineSignal<[Progress]>(signalNames.report), (progress) => training.report(progress));
  setHandler(defineSignal<[HostLost]>(signalNames.hostLost), (loss) => training.noteHostLoss(loss));
  setHandler(defineQuery<RunStatus>(queryNames.progress), () => run.status());
}

/** Returns the result of a run that was complete already. */
async function admitRun(run: Run, input: unknown): Promise<FinetuneResult | null> {
  run.show();
  run.state.admission = await persist(run, () => control.admit(input));
  if (run.admitted.completed !== null) {
    run.enter('completed');
    return run.admitted.completed as FinetuneResult;
  }
  run.record('admitted', run.admitted.model);
  return null;
}

/** Runs steps 1 and 2: what was done before is found by its digest and returns at once. */
async function prepare(run: Run): Promise<void> {
  const { state, admitted } = run;
  if (state.data === null) {
    run.enter('preparing_data');
    state.data = await runStep(run, 'tokenize and pack', (steps) => steps.prepareData(admitted.run));
    run.record('data_prepared', state.data.train);
  }
  if (state.model === null) {
    run.enter('preparing_model');
    state.model = await runStep(run, `resolve ${admitted.model}`, (steps) => steps.shardModel(admitted.run));
    run.record('model_ready', state.model.folder);
  }
}

/** Runs steps 4 and 5. */
async function publish(run: Run): Promise<FinetuneResult> {
  const { state } = run;
  const [model, data, reference] = [state.model!, state.data!, run.admitted.run];
  run.enter('evaluating');
  const request = { version: 1, run: reference, model, data } as const;
  const evaluation = await runStep(run, 'evaluate before and after training', (steps) =>
    steps.evaluate(request),
  );
  state.evaluation = evaluation;
  run.recordDamage(evaluation.damage);
  run.record('evaluated', `commit ${evaluation.commit}`, { step: evaluation.step });
  run.enter('publishing');
  const published = await runStep(run, 'write and verify the model', (steps) =>
    steps.consolidate({ ...request, evaluation }),
  );
  run.record('published', published.published ?? published.model, { step: evaluation.step });
  await run.writeTimeline({ all: true });
  return {
    version: 1,
    run: reference.id,
    state: state.requests.stopping && state.outcome?.kind !== 'finished' ? 'stopped' : 'completed',
    model: published.model,
    published: published.published,
    outputDir: reference.outputDir,
    recipeDigest: reference.recipeDigest,
    steps: state.outcome?.step ?? evaluation.step,
    epochs: state.outcome?.epoch ?? state.epoch,
    metrics: published.metrics,
    evaluation,
    data: data.report,
    timeline: state.timeline,
    timelineUri: `${reference.outputDir}/timeline`,
    interruptions: state.interruptions,
    startedAt: state.startedAt,
    finishedAt: now(),
  };
}

/** Gives back what the run holds and writes its end into its folder, as far as that can still be done. */
async function recordFailure(run: Run, training: Training, failure: unknown): Promise<void> {
  await training.release();
  if (run.state.admission !== null) {
    run.state.budget = newBudget();
    await run.writeTimeline({ all: true });
    const [reference, claim] = [run.admitted.run, run.claim];
    const end = { state: 'failed', failure: failureMessage(failure) } as const;
    await persist(run, () => control.finish({ version: 1, run: reference, claim, end })).catch(
      () => undefined,
    );
  }
  run.enter('failed');
}
