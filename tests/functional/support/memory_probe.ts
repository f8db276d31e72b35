/**
 * Runs two steps and a snapshot of a recipe in a process of its own and prints the memory that they took as JSON. The model is written
 * first, into `model` next to the recipe: `memory_probe.js RECIPE.yaml '{"hidden": 256, …}'`.
 */
import path from 'node:path';
import { PackReader } from '../../../components/datasets/llm/index.js';
import { optimizerInputs } from '../../../components/optim/index.js';
import { stepPosition } from '../../../components/training/index.js';
import { admit, prepareData, shardModel } from '../../../recipes/index.js';
import { openRun } from '../../../recipes/llm/kind.js';
import { stepBatches } from '../../../recipes/llm/train/batches.js';
import { openSession } from '../../../recipes/llm/train/open_session.js';
import { buildSchedule } from '../../../recipes/llm/train/trainer.js';
import { writeTinyModel } from '../../support/tiny_model.js';

const [recipeFile, shape] = process.argv.slice(2) as [string, string];
await writeTinyModel(path.join(path.dirname(recipeFile), 'model'), JSON.parse(shape));
const hooks = { progress: () => {}, signal: new AbortController().signal };
const info = { workflowId: 'memory', runId: '1', namespace: 'default', server: null, roots: null };
const { run } = await admit({ recipe: recipeFile }, info);
const data = await prepareData(run, hooks);
const model = await shardModel(run, hooks, 'cpu:0');
const openedRun = await openRun(run);
const reader = await PackReader.open(data.train);
const schedule = buildSchedule(openedRun.recipe, reader.packs);
const idle = await residentMemory();

const session = await openSession(openedRun, model.folder, 'cpu:0');
for (const step of [1, 2]) {
  const batches = await stepBatches(reader, schedule, stepPosition(schedule, step), openedRun.recipe.seed);
  await session.gradients(batches.micro, 1 / batches.supervised, step);
  await session.update(optimizerInputs(openedRun.recipe.training.optimizer, step, 1e-4, 1));
}
const { tensors: copies } = await session.snapshot();
const resident = await residentMemory();
const { arenaHighWater } = session.context.progress();
const planned = model.memory;
process.stdout.write(
  JSON.stringify({
    idle,
    resident,
    arenaHighWater,
    arena: planned.arena,
    total: planned.total,
    copies: copies.size,
  }),
);
session.close();

/** Returns the bytes without garbage: what the first collection leaves to finalizers, the second one frees. */
async function residentMemory(): Promise<number> {
  for (let collection = 0; collection < 2; collection += 1) {
    globalThis.gc?.();
    await new Promise(setImmediate);
  }
  return process.memoryUsage().rss;
}
