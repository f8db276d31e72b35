import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type Dataset,
  findPrepared,
  type PreparedPacks,
  prepareData as preparePacks,
  type TokenizerSource,
  validationSets,
} from '../../../components/datasets/llm/index.js';
import type { ResolvedModel } from '../../../components/models/index.js';
import { tokenizerDigest } from '../../../components/tokenizer/index.js';
import type { DataReport, PreparedData } from '../../../contracts/index.js';
import { defaultThreads } from '../../../engine/index.js';
import type { StepHooks } from '../../run/progress.js';
import type { Recipe } from '../recipe.js';

/** Tokenizes, masks and packs every dataset of a recipe into the cache; what is there already is found by its digest. */
export async function prepareAllPacks(
  recipe: Recipe,
  resolved: ResolvedModel,
  cache: string,
  hooks: StepHooks,
): Promise<PreparedData> {
  const tokenizer = await tokenizerSource(resolved.folder);
  const prepare = async (name: string, dataset: Dataset) => {
    const packs = await preparePacks({
      ...packOptions(recipe, resolved, tokenizer, cache),
      dataset,
      threads: defaultThreads(),
      onProgress: ({ fraction, text }) => hooks.progress(fraction, `${name}: ${text}`),
      signal: hooks.signal,
    });
    return { folder: packs.folder, report: packs.index.report };
  };
  const train = await prepare('train', recipe.data.train);
  const report: Record<string, DataReport> = { train: train.report };
  const validation: Record<string, string> = {};
  for (const [name, dataset] of Object.entries(validationSets(recipe.data))) {
    const prepared = await prepare(name, dataset);
    validation[name] = prepared.folder;
    report[name] = prepared.report;
  }
  return { train: train.folder, validation, report };
}

/**
 * Returns the packs of a recipe that are in the cache already, by the name of their dataset; null for those that are
 * not.
 */
export async function preparedPacks(
  recipe: Recipe,
  resolved: ResolvedModel,
  cache: string,
): Promise<Record<string, PreparedPacks | null>> {
  const options = packOptions(recipe, resolved, await tokenizerSource(resolved.folder), cache);
  const sets = Object.entries({ train: recipe.data.train, ...validationSets(recipe.data) });
  const prepared = sets.map(
    async ([name, dataset]) => [name, await findPrepared({ ...options, dataset })] as const,
  );
  return Object.fromEntries(await Promise.all(prepared));
}

/** Returns the inputs that decide the packs of every dataset of a recipe, and the folders of the packs. */
function packOptions(
  recipe: Recipe,
  { model, folder }: ResolvedModel,
  tokenizer: TokenizerSource | null,
  cache: string,
) {
  return {
    packedSequenceSize: recipe.data.packed_sequence_size,
    tokenizer,
    tokenizerFolder: folder,
    vocabularySize: model.vocabSize,
    cache: path.join(cache, 'packs'),
  };
}

/** Tells worker threads how to build the model's tokenizer; null when the model has none, which pretokenized data does not need. */
export async function tokenizerSource(folder: string): Promise<TokenizerSource | null> {
  if (!existsSync(path.join(folder, 'tokenizer.json'))) return null;
  const module = fileURLToPath(new URL('../../../components/tokenizer/index.js', import.meta.url));
  return { module, factory: 'loadTokenizer', argument: folder, digest: await tokenizerDigest(folder) };
}
