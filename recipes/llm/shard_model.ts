import { checkFinite, type ResolvedModel } from '../../components/models/index.js';
import type { RunReference, ShardedModel } from '../../contracts/index.js';
import { firstNonFinite } from '../../engine/index.js';
import { digestOf } from '../../shared/digest.js';
import { OutOfMemoryError } from '../../shared/errors.js';
import type { StepHooks } from '../base/hooks.js';
import { openRun } from '../base/run_folder.js';
import { doesNotFit, forecastMemory, memoryLimit, usableShare } from './memory.js';
import { modelNotices, resolveRunModel } from './model.js';
import { compileRun } from './plan_cache.js';
import { parsePublishLocation } from './publish_location.js';
import { checkLocation } from './publish_union.js';
import type { Recipe } from './recipe.js';

/** Resolves and verifies the run's weights, and refuses now what cannot fit or could not be published. */
export async function shardModel(run: RunReference, hooks: StepHooks): Promise<ShardedModel> {
  const { recipe } = await openRun(run);
  const { publish_to } = recipe.export;
  if (publish_to !== null) await checkLocation(parsePublishLocation(publish_to), run.outputDir);
  const resolved = await resolveRunModel(recipe, hooks);
  hooks.progress(null, 'checking the weights');
  await checkFinite(resolved.weights, firstNonFinite);
  hooks.progress(null, 'planning memory');
  for (const notice of modelNotices(recipe, resolved.model)) hooks.progress(null, `notice: ${notice}`);
  const { memory, trainedParameters } = await forecastRun(recipe, resolved);
  const parameters = [...resolved.weights.values()].reduce((sum, { shape }) => sum + elements(shape), 0);
  return { model: resolved.folder, digest: digestOf(resolved.source), parameters, trainedParameters, memory };
}

/** Compiles a recipe for this host. Throws OutOfMemoryError naming the largest parts when it cannot fit. */
export async function forecastRun(
  recipe: Recipe,
  { model, weights }: Pick<ResolvedModel, 'model' | 'weights'>,
) {
  const limit = memoryLimit() * usableShare;
  const compiled = await compileRun(
    recipe,
    model,
    weights,
    arenaBudget(recipe, [...weights.values()], limit),
  );
  const memory = forecastMemory(compiled);
  if (memory.total > limit) throw new OutOfMemoryError(doesNotFit(memory, limit));
  const trainedParameters = compiled.training.tensors
    .filter(({ role }) => role === 'trained')
    .reduce((sum, { shape }) => sum + elements(shape), 0);
  return { compiled, memory, trainedParameters };
}

/** What is left for activations: half of what the weights, were all of them trained, would leave. */
export function arenaBudget(
  recipe: Recipe,
  weights: readonly { byteLength: number; shape: number[] }[],
  limit: number,
): number {
  const frozen = weights.reduce((sum, { byteLength }) => sum + byteLength, 0);
  // Master, gradient, two moments, and the snapshot's copy of three of them.
  const trained = weights.reduce((sum, { shape }) => sum + elements(shape) * 4 * 7, 0);
  return Math.max(0, limit - (recipe.peft === null ? trained : 1.25 * frozen)) * 0.9;
}

const elements = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
