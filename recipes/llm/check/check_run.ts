import { checkFinite, oncePerState, type ResolvedModel } from '../../../components/models/index.js';
import type { RunReference, VerifiedModel } from '../../../contracts/index.js';
import { firstNonFinite, memoryLimit } from '../../../engine/index.js';
import { elements } from '../../../graph/index.js';
import { digestOf } from '../../../shared/digest.js';
import { OutOfMemoryError } from '../../../shared/errors.js';
import type { StepHooks } from '../../run/progress.js';
import { openRun } from '../kind.js';
import { modelNotices, resolveRunModel } from '../model.js';
import { checkLocation } from '../publish/publish_union.js';
import { parsePublishLocation } from '../publish_location.js';
import type { Recipe } from '../recipe.js';
import { doesNotFit, forecastMemory, usableShare } from '../train/memory.js';
import { compileRun } from '../train/plan_cache.js';

/**
 * Resolves and verifies the run's weights, and refuses now what cannot fit or could not be published.
 * @param device that this host's ranks train on, e.g. `cpu:0`
 */
export async function shardModel(
  run: RunReference,
  hooks: StepHooks,
  device: string,
): Promise<VerifiedModel> {
  const { recipe, cache } = await openRun(run);
  const { publish_to } = recipe.export;
  if (publish_to !== null) await checkLocation(parsePublishLocation(publish_to), run.outputDir);
  const resolved = await resolveRunModel(recipe, hooks);
  hooks.progress(null, 'checking the weights');
  const files = [...resolved.weights.values()].map(({ file }) => file);
  await oncePerState(files, cache, () => checkFinite(resolved.weights, firstNonFinite));
  hooks.progress(null, 'planning memory');
  for (const notice of modelNotices(recipe, resolved.model)) hooks.progress(null, `notice: ${notice}`);
  const { memory, trainedParameters } = await forecastRun(recipe, resolved, device);
  const parameters = [...resolved.weights.values()].reduce((sum, { shape }) => sum + elements(shape), 0);
  const { folder, source } = resolved;
  return { folder, digest: digestOf(source), parameters, trainedParameters, memory };
}

/**
 * Compiles a recipe for a device of this host.
 * @throws OutOfMemoryError naming the largest parts when it cannot fit
 */
export async function forecastRun(
  recipe: Recipe,
  { model, weights }: Pick<ResolvedModel, 'model' | 'weights'>,
  device: string,
) {
  const limit = memoryLimit() * usableShare;
  const compiled = await compileRun(recipe, model, weights, device, limit);
  const memory = forecastMemory(compiled, device);
  if (memory.total > limit) throw new OutOfMemoryError(doesNotFit(memory, limit));
  const trainedParameters = compiled.training.tensors
    .filter(({ role }) => role === 'trained')
    .reduce((sum, { shape }) => sum + elements(shape), 0);
  return { compiled, memory, trainedParameters };
}
