/** The `finetune` workflow: one run of a recipe, from its data to a published model, whatever happens on the way. */
import {
  ActivityCancellationType,
  CancellationScope,
  ContinueAsNew,
  defineQuery,
  defineSignal,
  proxyActivities,
  setHandler,
} from '@temporalio/workflow';
import type { ControlActivities, HostLost } from '../contracts/activities.js';
import type { FinetuneResult } from '../contracts/finetune.js';
import type { Progress } from '../contracts/gang.js';
import { queryNames, signalNames } from '../contracts/names.js';
import type { RunState, RunStatus } from '../contracts/run_state.js';
import { asWorkflowFailure, failureMessage } from './failures.js';
import { now, Run } from './run.js';
import { retry, steps } from './steps.js';
import { Training } from './training.js';

const { admit, finish } = proxyActivities<ControlActivities>({
  startToCloseTimeout: '2 minutes',
  retry,
  cancellationType: ActivityCancellationType.TRY_CANCEL,
});

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
    await finish({ version: 1, run: run.admitted.run, end: { state: result.state, result } });
    run.enter(result.state);
    return result;
  } catch (error) {
    if (error instanceof ContinueAsNew) throw error;
    const failure = asWorkflowFailure(error);
    await CancellationScope.nonCancellable(async () => {
      await training.release();
      if (run.state.admission !== null) {
        await finish({
          version: 1,
          run: run.admitted.run,
          end: { state: 'failed', failure: failureMessage(failure) },
        }).catch(() => undefined);
      }
      run.enter('failed');
    });
    throw failure;
  }
}

/** Handlers stand before the first await, so that no message finds none. */
function listen(run: Run, training: Training): void {
  const { state } = run;
  setHandler(defineSignal(signalNames.pause), async () => {
    if (state.paused || state.stopping) return;
    state.paused = true;
    run.record('paused', 'asked for');
    if (state.grant !== null) run.enter('paused');
    await training.deliver('pause');
  });
  setHandler(defineSignal(signalNames.resume), async () => {
    if (!state.paused) return;
    state.paused = false;
    run.record('unpaused', 'asked for');
    if (state.grant !== null) run.enter('training');
    await training.deliver('resume');
  });
  setHandler(defineSignal(signalNames.stop), async () => {
    if (state.stopping) return;
    state.stopping = true;
    await training.deliver('stop');
  });
  setHandler(defineSignal(signalNames.checkpointNow), () => training.deliver('checkpointNow'));
  setHandler(defineSignal<[Progress]>(signalNames.report), (progress) => training.report(progress));
  setHandler(defineSignal<[HostLost]>(signalNames.hostLost), (lost) => training.buried(lost));
  setHandler(defineQuery<RunStatus>(queryNames.progress), () => run.status());
}

/** Returns the result of a run that was complete already. */
async function admitRun(run: Run, input: unknown): Promise<FinetuneResult | null> {
  run.show();
  run.state.admission = await admit(input);
  if (run.admitted.completed !== null) {
    run.enter('completed');
    return run.admitted.completed as FinetuneResult;
  }
  run.record('admitted', run.admitted.model);
  return null;
}

/** Steps 1 and 2: what was done before is found by its digest and returns at once. */
async function prepare(run: Run): Promise<void> {
  const { state } = run;
  if (state.data === null) {
    run.enter('preparing_data');
    state.data = await steps(run.admitted.pool, 'tokenise and pack').prepareData(run.admitted.run);
    run.record('data_prepared', state.data.train);
  }
  if (state.model === null) {
    run.enter('preparing_model');
    state.model = await steps(run.admitted.pool, `resolve ${run.admitted.model}`).shardModel(
      run.admitted.run,
    );
    run.record('model_ready', state.model.model);
  }
}

/** Steps 4 and 5. */
async function publish(run: Run): Promise<FinetuneResult> {
  const { state } = run;
  const [model, data, reference] = [state.model!, state.data!, run.admitted.run];
  run.enter('evaluating');
  const request = { version: 1, run: reference, model, data } as const;
  const evaluation = await steps(run.admitted.pool, 'before and after').evaluate(request);
  state.evaluation = evaluation;
  run.record('evaluated', `commit ${evaluation.commit}`, { step: evaluation.step });
  run.enter('publishing');
  const published = await steps(run.admitted.pool, 'write and verify the model').consolidate({
    ...request,
    evaluation,
  });
  run.record('published', published.published ?? published.model, { step: evaluation.step });
  return {
    version: 1,
    run: reference.run,
    state: state.stopping && state.outcome?.kind !== 'finished' ? 'stopped' : 'completed',
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
    startedAt: state.startedAt,
    finishedAt: now(),
  };
}
