/** `temper export`: a checkpoint of a run that has ended, or is under way, as a Hugging Face folder. */
import path from 'node:path';
import {
  DamagedCheckpoint,
  findDamage,
  liveCheckpoints,
  newestSound,
  readRunDocument,
} from '../../components/checkpoint/index.js';
import type { CheckpointEntry } from '../../contracts/index.js';
import { CheckpointError, UsageError } from '../../shared/errors.js';
import { canonicalUri, type Storage } from '../../shared/storage/index.js';
import type { StepHooks } from '../base/hooks.js';
import { openRooted, openRun } from '../base/run_folder.js';
import { type ModelForm, Publisher } from './consolidate.js';
import { evaluationOf } from './evaluate.js';
import { resolveRunModel } from './model.js';
import { modelCard } from './model_card.js';

export interface ExportOptions {
  /** Folder of the run, or s3:// prefix. */
  outputDir: string;
  /** Where to publish. Replaced when it holds an earlier publication; anything else there is refused. */
  output: string;
  /** The merged model instead of the adapter. */
  merge: boolean;
  /** Step of the checkpoint; null: the newest sound one. */
  step: number | null;
}

export interface Exported {
  /** URI of the published folder. */
  model: string;
  form: ModelForm;
  step: number;
}

/**
 * Publishes a checkpoint. Throws UsageError where there is no such run, step or adapter, or where the output is in use,
 * and CheckpointError for damage.
 */
export async function exportRun(options: ExportOptions, hooks: StepHooks): Promise<Exported> {
  const folder = await openRooted(options.outputDir);
  const document = await readRunDocument(folder);
  if (document === null)
    throw new UsageError(`${folder.uri}: holds no run (no run.json); name a run's output_dir`);
  const { run: name, recipeDigest } = document;
  const run = await openRun({ version: 1, run: name, outputDir: folder.uri, recipeDigest });
  if (options.merge && run.recipe.peft === null)
    throw new UsageError(`--merge: the run '${name}' trains every weight, and has no adapter to merge`);
  const form = run.recipe.peft === null ? 'full' : options.merge ? 'merged' : 'adapter';
  const target = await openTarget(options.output);
  const entry = options.step === null ? await newest(run.storage) : await atStep(run.storage, options.step);
  const { folder: modelFolder } = await resolveRunModel(run.recipe, hooks);
  const publisher = await Publisher.open(run, modelFolder, entry.sequence);
  const card = modelCard(run, await evaluationOf(run.storage, entry), form);
  const model = await publisher.publish(target.parent, target.name, form, card, (bytes) =>
    hooks.progress(null, `published ${Math.round(bytes / 1e6)} MB`),
  );
  return { model, form, step: entry.trainer.step };
}

async function newest(run: Storage): Promise<CheckpointEntry> {
  const { entry } = await newestSound(run);
  if (entry === null) throw new CheckpointError(`${run.uri}: the run has no sound checkpoint yet`);
  return entry;
}

async function atStep(run: Storage, step: number): Promise<CheckpointEntry> {
  const steps = new Set<number>();
  for await (const { entry } of liveCheckpoints(run)) {
    if (entry?.trainer.step === step) return soundOrThrow(run, entry);
    if (entry !== null) steps.add(entry.trainer.step);
  }
  const available =
    steps.size === 0 ? 'has no checkpoint' : `has checkpoints of steps ${[...steps].join(', ')}`;
  throw new UsageError(
    `--step ${step}: the run ${available}; older ones go as checkpoint.keep_last says (${run.uri})`,
  );
}

/** Publishing reads large tensors in pieces, which have no checksums of their own. */
async function soundOrThrow(run: Storage, entry: CheckpointEntry): Promise<CheckpointEntry> {
  const damage = await findDamage(run, entry);
  if (damage.length > 0) throw new DamagedCheckpoint(damage);
  return entry;
}

/** The folder that is to hold the publication. A folder that holds something else is not replaced. */
async function openTarget(output: string): Promise<{ parent: Storage; name: string }> {
  const location = canonicalUri(output);
  const name = path.posix.basename(location);
  const parent = await openRooted(location.slice(0, -name.length - 1) || '/');
  const standing = parent.at(name);
  if ((await standing.size('temper_manifest.json')) !== null) return { parent, name };
  for await (const _ of standing.list(''))
    throw new UsageError(
      `--output ${output}: holds other files, and publishing would replace them; choose a new folder`,
    );
  return { parent, name };
}
