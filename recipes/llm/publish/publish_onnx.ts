/** A commit as an ONNX folder: the export that evaluation may have made already, verified, and published with a model card. */
import path from 'node:path';
import { type PublishedFile, publishModel, readPublication } from '../../../components/publication/index.js';
import { digestOf } from '../../../shared/digest.js';
import { openStorage, type Storage } from '../../../shared/storage/index.js';
import type { StepHooks } from '../../run/progress.js';
import type { OpenRun } from '../kind.js';
import { stageBase } from '../model_folder/staged_model.js';
import { cachedOnnx, exporterVersion } from '../onnx/onnx_cache.js';
import type { OnnxPrecision } from '../onnx/onnx_files.js';
import { verifyOnnx } from './onnx_verify.js';

export interface OnnxPublication {
  run: OpenRun;
  /** Id of the commit. */
  commit: string;
  precision: OnnxPrecision;
  /** README.md */
  card: string;
  /** Folder of the model that the run began with. */
  base: string;
  /** Gives the commit's trained weights as a local folder, an adapter's where there is one, else the whole model. */
  trained(): Promise<string>;
}

/**
 * Writes `<home>/<name>`: config, tokenizer, genai_config.json, README.md and `onnx/model[_fp16].onnx`, an adapter merged in.
 * Nothing appears when ONNX Runtime computes anything else than the engine: then this throws CheckpointError.
 */
export async function publishOnnx(
  home: Storage,
  name: string,
  publication: OnnxPublication,
  hooks: StepHooks,
): Promise<Storage> {
  const { run, commit, precision, card } = publication;
  const source = digestOf({
    form: 'onnx',
    commit,
    recipe: run.run.recipeDigest,
    precision,
    exporterVersion,
  });
  const folder = home.at(name);
  if ((await readPublication(folder))?.source === source) return folder;
  const onnx = await verifiedExport(publication, hooks);
  const files = [{ name: 'README.md', content: card }, ...(await exportedFiles(onnx))];
  const progress = (bytes: number) => hooks.progress(null, `published ${Math.round(bytes / 1e6)} MB of ONNX`);
  await publishModel({ storage: home, name, source, marker: 'config.json', files, weights: null, progress });
  return folder;
}

/** Returns `model.onnx` in the cache, equal to what the engine computes. */
async function verifiedExport(
  { run, precision, base, trained }: OnnxPublication,
  hooks: StepHooks,
): Promise<string> {
  const weights = await trained();
  if (run.recipe.peft === null) return exportAndVerify(weights, null, precision, hooks);
  const staged = await stageBase(run, base);
  try {
    return await exportAndVerify(staged.model, weights, precision, hooks);
  } finally {
    await staged.dispose();
  }
}

async function exportAndVerify(
  modelFolder: string,
  adapter: string | null,
  precision: OnnxPrecision,
  hooks: StepHooks,
): Promise<string> {
  const onnx = await cachedOnnx({ modelFolder, adapter, precision }, hooks);
  hooks.progress(null, 'comparing ONNX Runtime with the engine');
  const difference = await verifyOnnx({ onnx, precision, modelFolder, adapter }, hooks.signal);
  hooks.progress(null, `ONNX Runtime and the engine agree to ${difference.toExponential(0)}`);
  return onnx;
}

/** Returns every file of the folder that an export made. */
async function exportedFiles(onnx: string): Promise<PublishedFile[]> {
  const folder = await openStorage(path.dirname(path.dirname(onnx)), { roots: null });
  const files: PublishedFile[] = [];
  for await (const { key } of folder.list(''))
    files.push({ name: key, content: () => folder.readStream(key) });
  return files;
}
