/** Exported models in the cache: one export for each (weights, adapter, precision), and few of them at a time. */
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import {
  defaultCache,
  locateWeights,
  openModel,
  rememberedDigest,
} from '../../../components/models/index.js';
import { digestOf } from '../../../shared/digest.js';
import { ModelError, StorageError, TemperError } from '../../../shared/errors.js';
import { exists, partialName, publishFolder, removeAbandoned } from '../../../shared/files.js';
import type { StepHooks } from '../../run/progress.js';
import { type OnnxPrecision, onnxStem } from './onnx_files.js';
import { exportModelFolder } from './onnx_folder.js';

/** Changes when the same weights give another graph. */
export const exporterVersion = 2;
/** Entries that stay when another one comes. */
const keptEntries = 4;
/** ms within which a used entry is not dropped: somebody may be opening it. */
const openingTime = 600_000;

export interface CachedModel {
  modelFolder: string;
  /** PEFT adapter to merge in, or null. */
  adapter: string | null;
  precision: OnnxPrecision;
}

/**
 * Returns `model.onnx` of a model, exported when the cache has none.
 * @throws ModelError where model or adapter do not fit
 */
export async function cachedOnnx(model: CachedModel, hooks: Pick<StepHooks, 'progress'>): Promise<string> {
  const home = path.join(defaultCache(), 'onnx');
  const folder = path.join(home, await identify(model));
  const file = path.join(folder, 'onnx', `${onnxStem(model.precision)}.onnx`);
  if (!(await exists(file))) {
    await mkdir(home, { recursive: true });
    await removeAbandoned(home);
    await exportInto(folder, model, (bytes, of) =>
      hooks.progress(bytes / of, `exporting the model to ONNX, ${Math.round(bytes / 1e6)} MB`),
    );
    await dropOld(home, folder);
  }
  const now = new Date();
  await utimes(folder, now, now);
  return file;
}

/** Returns the digest of all that the exported graph follows from. */
async function identify({ modelFolder, adapter, precision }: CachedModel): Promise<string> {
  const cache = defaultCache();
  const weights = await locateWeights(modelFolder, await openModel(modelFolder));
  const files = [
    ...new Set([...weights.values()].map(({ file }) => file)),
    path.join(modelFolder, 'config.json'),
  ];
  const digests = await Promise.all(files.map((file) => rememberedDigest(file, cache)));
  const adapterDigests = await Promise.all(
    adapter === null
      ? []
      : ['adapter_config.json', 'adapter_model.safetensors'].map((name) => {
          const file = path.join(adapter, name);
          return rememberedDigest(file, cache).catch((cause: Error) => {
            throw new ModelError(`${adapter}: not an adapter folder: ${cause.message}`, { cause });
          });
        }),
  );
  return digestOf({ exporterVersion, precision, digests, adapterDigests }).slice(0, 32);
}

/** Exports a model. The first of several processes publishes its copy; the others' are removed. */
async function exportInto(
  folder: string,
  { modelFolder, adapter, precision }: CachedModel,
  progress: (bytes: number, of: number) => void,
): Promise<void> {
  const partial = partialName(folder);
  try {
    await exportModelFolder(modelFolder, adapter, precision, partial, progress);
    await publishFolder(partial, folder);
  } catch (error) {
    if (error instanceof TemperError || (error as NodeJS.ErrnoException).code === undefined) throw error;
    const { message } = error as Error;
    throw new StorageError(
      `${folder}: the exported model cannot be stored there: ${message}; free some space, or set TEMPER_CACHE to another folder`,
      { cause: error },
    );
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

/** Drops the entries that were used longest ago. */
async function dropOld(home: string, newest: string): Promise<void> {
  const entries: { folder: string; used: number }[] = [];
  for (const name of await readdir(home)) {
    const folder = path.join(home, name);
    const used = (await stat(folder).catch(() => null))?.mtimeMs;
    if (used === undefined || folder === newest || name.endsWith('.partial')) continue;
    entries.push({ folder, used });
  }
  entries.sort((a, b) => b.used - a.used);
  for (const { folder, used } of entries.slice(keptEntries - 1)) {
    if (Date.now() - used > openingTime) await rm(folder, { recursive: true, force: true });
  }
}
