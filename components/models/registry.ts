/** Model families by `architectures[0]` of config.json. Operators register their own in temporal.config.js. */
import path from 'node:path';
import { ModelError } from '../../shared/errors.js';
import { readModelJson } from '../../shared/model_files.js';
import { Registry } from '../../shared/registry.js';
import type { Model, ModelFamily } from './blocks/family.js';
import { llama } from './families/llama.js';

const families = new Registry<ModelFamily>('model family', ({ architecture }) => architecture, [llama]);

/** Adds a family. @throws UsageError where its architecture has one already */
export function registerModelFamily(family: ModelFamily): void {
  families.register(family);
}

export const knownArchitectures = (): string[] => families.names.sort();

/** Returns the family of a GGUF file's `general.architecture`. */
export function familyOfGguf(architecture: string, location: string): ModelFamily {
  for (const family of families.entries) {
    if (family.ggufArchitectures.includes(architecture)) return family;
  }
  const supported = families.entries.flatMap((family) => family.ggufArchitectures);
  throw new ModelError(
    `${location}: GGUF architecture ${JSON.stringify(architecture)} is not supported; supported: ${supported.join(', ')}`,
  );
}

/**
 * Returns the model that a parsed config.json describes.
 * @throws ModelError listing the known architectures
 */
export function modelFromConfig(config: unknown, location: string): Model {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new ModelError(`${location}: not a JSON object`);
  }
  const architectures = (config as { architectures?: unknown }).architectures;
  const name: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  const supported = knownArchitectures().join(', ');
  if (typeof name !== 'string')
    throw new ModelError(`${location}: names no 'architectures'; supported: ${supported}`);
  const family = families.entries.find(({ architecture }) => architecture === name);
  if (family === undefined) {
    throw new ModelError(
      `${location}: architecture ${JSON.stringify(name)} is not supported; supported: ${supported}`,
    );
  }
  return family.model(config as Record<string, unknown>, location);
}

/** Reads `config.json` of a model folder; `overrides` replace its keys (`model.config_overrides` of a recipe). */
export async function openModel(folder: string, overrides: Record<string, unknown> = {}): Promise<Model> {
  const file = path.join(folder, 'config.json');
  const config = await readModelJson(file);
  if (config === null) throw new ModelError(`${folder}: not a model folder, it has no config.json`);
  return modelFromConfig({ ...config, ...overrides }, file);
}
