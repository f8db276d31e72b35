import { locateWeights, openModel } from '../../../components/models/index.js';
import {
  adapterInit,
  checkInitFrom,
  readAdapter,
  readAdapterTensor,
} from '../../../components/peft/index.js';
import { memoryLimit } from '../../../engine/index.js';
import { OutOfMemoryError } from '../../../shared/errors.js';
import type { OpenRun } from '../kind.js';
import { beyondForecast, forecastMemory, usableShare } from './memory.js';
import { compileRun } from './plan_cache.js';
import { Session } from './session.js';

/**
 * Compiles the run for this rank and brings weights, adapter and plans into an engine context.
 * @param device e.g. `cpu:0`
 * @throws OutOfMemoryError that says what was forecast, where the device has less memory
 */
export async function openSession(
  { recipe }: OpenRun,
  modelFolder: string,
  device: string,
): Promise<Session> {
  const model = await openModel(modelFolder, recipe.model.config_overrides);
  const weights = await locateWeights(modelFolder, model);
  const compiled = await compileRun(recipe, model, weights, device, memoryLimit() * usableShare);
  const { adapted } = compiled;
  const initial = new Map<string, Float32Array>();
  if (recipe.peft !== null && recipe.peft.init_from !== null && adapted !== null) {
    const adapter = await readAdapter(recipe.peft.init_from, model.linearModules);
    checkInitFrom(
      adapter,
      recipe.peft,
      adapted.map(({ module }) => module),
    );
    for (const name of adapter.tensors.keys()) initial.set(name, await readAdapterTensor(adapter, name));
  }
  const options = {
    device,
    weights,
    constants: model.constants(compiled.positions),
    inits: recipe.peft === null || adapted === null ? [] : adapterInit(adapted, recipe.peft),
    initial,
    seed: recipe.seed,
  };
  try {
    return await Session.open(compiled, options);
  } catch (error) {
    if (!(error instanceof OutOfMemoryError)) throw error;
    throw new OutOfMemoryError(beyondForecast(error.message, forecastMemory(compiled, device)), {
      cause: error,
    });
  }
}
