/** A run as workers train it, without the workers: the recipe is admitted, prepared and trained in this process. */
import { newestSound, openCheckpoint } from '../../components/checkpoint/index.js';
import {
  type Admitted,
  type EpochOutcome,
  noRequests,
  type PreparedData,
  type RankStart,
  type VerifiedModel,
} from '../../contracts/index.js';
import {
  admit,
  Control,
  createTrainer,
  prepareData,
  type StepHooks,
  shardModel,
  type Trainer,
  takeGeneration,
} from '../../recipes/index.js';
import { openStorage } from '../../shared/storage/index.js';

export const quietHooks: StepHooks = { progress: () => undefined, signal: new AbortController().signal };

export interface TrainingRun {
  admitted: Admitted;
  data: PreparedData;
  model: VerifiedModel;
}

export interface MetricsLine {
  step: number;
  loss?: number;
  grad_norm?: number;
  val_loss?: number;
  generation: number;
}

/** Takes a run through steps 1 and 2. `recipe` is what a file would hold; its paths are absolute. */
export async function prepareRun(recipe: Record<string, unknown> & { name: string }): Promise<TrainingRun> {
  const admitted = await admit(recipe, {
    workflowId: recipe.name,
    runId: recipe.name,
    namespace: 'default',
    server: null,
    roots: null,
  });
  const { run } = admitted;
  const data = await prepareData(run, quietHooks);
  return { admitted, data, model: await shardModel(run, quietHooks, 'cpu:0') };
}

/** Opens a rank of the run's next generation. `onStep` is called with the step it starts from, and with each step that is done. */
export async function openTrainer(
  { admitted, data, model }: TrainingRun,
  onStep: (step: number, control: Control) => void = () => undefined,
): Promise<Trainer> {
  const { run } = admitted;
  const start: RankStart = {
    type: 'start',
    version: 1,
    run,
    generation: await takeGeneration(run, { holder: 'test', worldSize: 1 }),
    worldSize: 1,
    device: 'cpu:0',
    model: model.folder,
    data,
    requests: noRequests,
  };
  const control = new Control();
  return await createTrainer(start, control, (event) => {
    if (event.type === 'progress' && event.progress.phase === 'training')
      onStep(event.progress.step, control);
  });
}

/** Trains until the run ends; returns the outcome of each epoch. */
export async function trainToTheEnd(trainer: Trainer): Promise<EpochOutcome[]> {
  const outcomes: EpochOutcome[] = [];
  for (let epoch = 0; ; epoch += 1) {
    const outcome = await trainer.train(epoch);
    outcomes.push(outcome);
    if (outcome.kind !== 'epoch') return outcomes;
  }
}

/** Returns the lines of the run's `metrics.jsonl` in the order of their steps; a base model is scored after the first step. */
export async function readMetrics({ admitted }: TrainingRun): Promise<MetricsLine[]> {
  const storage = await openStorage(admitted.run.outputDir, { roots: null });
  const text = (await storage.read('metrics.jsonl')).toString('utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as MetricsLine)
    .sort((a, b) => a.step - b.step || Number(!('loss' in a)) - Number(!('loss' in b)));
}

/** Returns every tensor of the run's newest commit: trained parameters and their moments. */
export async function readCommittedTensors({ admitted }: TrainingRun): Promise<Map<string, Float32Array>> {
  const storage = await openStorage(admitted.run.outputDir, { roots: null });
  const checkpoint = await openCheckpoint(storage, (await newestSound(storage)).entry!);
  const readTensor = async ([name, { shape }]: [string, { shape: number[] }]) => {
    const bytes = await checkpoint.readRows(name, 0, shape[0]!);
    return [name, new Float32Array(new Uint8Array(bytes).buffer)] as const;
  };
  return new Map(await Promise.all(Object.entries(checkpoint.tensors).map(readTensor)));
}
