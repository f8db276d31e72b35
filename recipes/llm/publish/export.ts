/** `temper export`: a checkpoint of a run that has ended, or is under way, published by hand. */
import {
  type Damage,
  DamagedCheckpoint,
  describeDamage,
  findDamage,
  liveCheckpoints,
  newestSound,
  readRunDocument,
} from '../../../components/checkpoint/index.js';
import { type CheckpointEntry, publishedFolders } from '../../../contracts/index.js';
import { CheckpointError, UsageError } from '../../../shared/errors.js';
import type { Storage } from '../../../shared/storage/index.js';
import { openRooted } from '../../run/open_run.js';
import { type StepHooks, stoppable } from '../../run/progress.js';
import { readScores } from '../evaluate/evaluate.js';
import { type OpenRun, openRun } from '../kind.js';
import { resolveRunModel } from '../model.js';
import { type ModelForm, Publisher } from '../model_folder/publisher.js';
import type { OnnxPrecision } from '../onnx/onnx_files.js';
import { parsePublishLocation, publishLocationProblem } from '../publish_location.js';
import { openStaging, removeStaging, trainedForm } from './consolidate.js';
import { modelCard } from './model_card.js';
import { publishOnnx } from './publish_onnx.js';
import { checkLocation, openLocation, publishUnion } from './publish_union.js';

export interface ExportOptions {
  /** Folder of the run, or s3:// prefix. */
  outputDir: string;
  /**
   * Location to publish to: a folder, an s3:// prefix or hf://owner/name[@branch]. Replaced when it holds an earlier publication;
   * anything else there is refused.
   */
  output: string;
  /** The merged model instead of the adapter. */
  merge: boolean;
  /** An ONNX export in addition, an adapter merged in; null for none. */
  onnx: OnnxPrecision | null;
  /** Step of the checkpoint; null: the newest sound one. */
  step: number | null;
}

export interface Exported {
  /** URI of the published folder, or address of the hub's repository. */
  model: string;
  form: ModelForm;
  step: number;
  /** A line for each damage of newer checkpoints, which were passed over: file, tensor and commit. */
  damage: string[];
}

/**
 * Publishes a checkpoint.
 * @throws UsageError where there is no such run, step or adapter, or where the output is in use, and CheckpointError
 * for damage and for an ONNX export that computes anything else than the engine
 */
export async function exportRun(options: ExportOptions, stepHooks: StepHooks): Promise<Exported> {
  const hooks = stoppable(stepHooks);
  const problem = publishLocationProblem(options.output);
  if (problem !== null) throw new UsageError(`--output ${options.output}: ${problem}`);
  const location = parsePublishLocation(options.output);
  const run = await openExportedRun(options);
  await checkLocation(location, run.storage.uri);
  const { entry, damage } =
    options.step === null ? await newest(run.storage) : await atStep(run.storage, options.step);
  const { folder: base } = await resolveRunModel(run.recipe, hooks);
  const form = options.merge ? 'merged' : trainedForm(run);
  const published = { form, step: entry.trainer.step, damage: damage.map(describeDamage) };
  const parts = { run, entry, base, form, onnx: options.onnx };
  if (location.kind === 'storage' && options.onnx === null) {
    const target = await openLocation(location);
    const write = await writer(parts, hooks);
    return { ...published, model: await write(target.parent, target.name, form) };
  }
  const staging = await openStaging(run);
  try {
    const staged = await stageParts(staging, parts, hooks);
    const union = { ...staged, title: `${run.recipe.name}, step ${published.step}` };
    const { uri } = await publishUnion(location, union, hooks);
    return { ...published, model: uri };
  } finally {
    await removeStaging(staging);
  }
}

async function openExportedRun({ outputDir, merge }: ExportOptions): Promise<OpenRun> {
  const folder = await openRooted(outputDir);
  const document = await readRunDocument(folder);
  if (document === null)
    throw new UsageError(`${folder.uri}: holds no run (no run.json); name a run's output_dir`);
  const { run: name, recipeDigest } = document;
  const run = await openRun({ version: 1, id: name, outputDir: folder.uri, recipeDigest });
  if (merge && run.recipe.peft === null)
    throw new UsageError(`--merge: the run '${name}' trains every weight, and has no adapter to merge`);
  return run;
}

interface Parts {
  run: OpenRun;
  entry: CheckpointEntry;
  /** Folder of the model that the run began with. */
  base: string;
  form: ModelForm;
  onnx: OnnxPrecision | null;
}

/** Writes the commit as a model folder, with its card. */
async function writer({ run, entry, base }: Parts, hooks: StepHooks) {
  const publisher = await Publisher.open(run, base, entry.sequence);
  const evaluation = await readScores(run.storage, entry);
  return (home: Storage, name: string, form: ModelForm): Promise<string> =>
    publisher.publish(home, name, form, modelCard(run, evaluation, form), (bytes) =>
      hooks.progress(null, `wrote ${Math.round(bytes / 1e6)} MB`),
    );
}

/** Stages the publication as a run itself would write it. */
async function stageParts(
  staging: Storage,
  parts: Parts,
  hooks: StepHooks,
): Promise<{ final: Storage; onnx: Storage | null }> {
  const { run, entry, base, form, onnx } = parts;
  const write = await writer(parts, hooks);
  const folder = await write(staging, publishedFolders.final, form);
  const final = staging.at(publishedFolders.final);
  if (onnx === null) return { final, onnx: null };
  const trained = async () => (form === 'merged' ? write(staging, 'trained', trainedForm(run)) : folder);
  const card = modelCard(run, await readScores(run.storage, entry), 'onnx');
  const publication = { run, commit: entry.id, precision: onnx, card, base, trained };
  return { final, onnx: await publishOnnx(staging, publishedFolders.onnx, publication, hooks) };
}

/** A sound checkpoint, and the damage of newer ones that were passed over. */
interface Chosen {
  entry: CheckpointEntry;
  damage: Damage[];
}

async function newest(storage: Storage): Promise<Chosen> {
  const { entry, damage } = await newestSound(storage);
  if (entry !== null) return { entry, damage };
  if (damage.length > 0) throw new DamagedCheckpoint(damage);
  throw new CheckpointError(`${storage.uri}: the run has no checkpoint yet; wait for its next save`);
}

async function atStep(storage: Storage, step: number): Promise<Chosen> {
  const steps = new Set<number>();
  for await (const { entry } of liveCheckpoints(storage)) {
    if (entry?.trainer.step === step) {
      await requireSound(storage, entry);
      return { entry, damage: [] };
    }
    if (entry !== null) steps.add(entry.trainer.step);
  }
  const available =
    steps.size === 0 ? 'has no checkpoint' : `has checkpoints of steps ${[...steps].join(', ')}`;
  throw new UsageError(
    `--step ${step}: the run ${available}; older ones are deleted according to checkpoint.keep_last (${storage.uri})`,
  );
}

/** Checks every byte of a commit: publishing reads large tensors in pieces, which have no checksums of their own. */
async function requireSound(storage: Storage, entry: CheckpointEntry): Promise<void> {
  const damage = await findDamage(storage, entry);
  if (damage.length > 0) throw new DamagedCheckpoint(damage);
}
