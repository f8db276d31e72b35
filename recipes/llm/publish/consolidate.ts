/** Step 5: the chosen commit → Hugging Face folder and ONNX folder, verified; and published where the recipe says. */
import { randomUUID } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import {
  type Evaluation,
  type PreparedData,
  publishedFolders,
  type RunReference,
  type VerifiedModel,
} from '../../../contracts/index.js';
import { openStorage, type Storage } from '../../../shared/storage/index.js';
import { type StepHooks, stoppable } from '../../run/progress.js';
import { type OpenRun, openRun } from '../kind.js';
import { type ModelForm, Publisher } from '../model_folder/publisher.js';
import { dropAbandoned } from '../model_folder/staged_model.js';
import { parsePublishLocation } from '../publish_location.js';
import { modelCard } from './model_card.js';
import { publishOnnx } from './publish_onnx.js';
import { checkLocation, publishUnion } from './publish_union.js';

export interface ConsolidateInput {
  model: VerifiedModel;
  data: PreparedData;
  evaluation: Evaluation;
}

export interface Consolidated {
  /** URI of the model folder. */
  model: string;
  /** Location that `export.publish_to` published to, or null. */
  published: string | null;
  metrics: Record<string, number>;
}

/**
 * Publishes the chosen commit as `<output_dir>/final`, and as the recipe asks: `merged/` in addition to an adapter,
 * `onnx/`, and elsewhere final/, or merged/ where there is one, with onnx/ as one folder. What is there already is left
 * unchanged, so that a killed step continues.
 */
export async function consolidate(
  run: RunReference,
  input: ConsolidateInput,
  stepHooks: StepHooks,
): Promise<Consolidated> {
  const hooks = stoppable(stepHooks);
  const openedRun = await openRun(run);
  const { recipe, storage } = openedRun;
  const { evaluation } = input;
  const location = recipe.export.publish_to === null ? null : parsePublishLocation(recipe.export.publish_to);
  if (location !== null) await checkLocation(location, run.outputDir);
  const publisher = await Publisher.open(openedRun, input.model.folder, evaluation.commit);
  const progress = (bytes: number) => hooks.progress(null, `published ${Math.round(bytes / 1e6)} MB`);
  const publish = (name: string, form: ModelForm) =>
    publisher.publish(storage, name, form, modelCard(openedRun, evaluation, form), progress);
  const final = await publish(publishedFolders.final, trainedForm(openedRun));
  const merges = recipe.peft !== null && recipe.export.merge_adapter;
  if (merges) await publish(publishedFolders.merged, 'merged');
  const onnx = recipe.export.onnx === null ? null : await consolidateOnnx(openedRun, publisher, input, hooks);
  let published: string | null = null;
  if (location !== null) {
    const union = {
      final: storage.at(merges ? publishedFolders.merged : publishedFolders.final),
      onnx,
      title: `${recipe.name}, step ${evaluation.step}`,
    };
    ({ uri: published } = await publishUnion(location, union, hooks));
  }
  return { model: final, published, metrics: prefixed(evaluation) };
}

/** Returns the form that a run trains, and so the content of `final/`. */
export const trainedForm = ({ recipe }: OpenRun): ModelForm => (recipe.peft === null ? 'full' : 'adapter');

/** Publishes `<output_dir>/onnx`, from final/ when that is in a folder, else from a copy in the cache. */
async function consolidateOnnx(
  run: OpenRun,
  publisher: Publisher,
  { model, evaluation }: ConsolidateInput,
  hooks: StepHooks,
): Promise<Storage> {
  const staging = await openStaging(run);
  try {
    return await publishOnnx(
      run.storage,
      publishedFolders.onnx,
      {
        run,
        commit: publisher.entry.id,
        precision: run.recipe.export.onnx!,
        card: modelCard(run, evaluation, 'onnx'),
        base: model.folder,
        trained: async () => {
          const final = run.storage.at(publishedFolders.final).folder;
          return (
            final ?? publisher.publish(staging, publishedFolders.final, trainedForm(run), '', () => undefined)
          );
        },
      },
      hooks,
    );
  } finally {
    await removeStaging(staging);
  }
}

/** Returns a local folder of this step's own, in the cache. What killed ones have left goes after a day. */
export async function openStaging({ cache }: OpenRun): Promise<Storage> {
  const home = path.join(cache, 'staged');
  await mkdir(home, { recursive: true });
  await dropAbandoned(home);
  return openStorage(path.join(home, `publishing-${randomUUID()}`), { roots: null });
}

export async function removeStaging({ folder }: Storage): Promise<void> {
  await rm(folder!, { recursive: true, force: true });
}

function prefixed({ before, after }: Evaluation): Record<string, number> {
  const named = (prefix: string, scores: Record<string, number>) =>
    Object.entries(scores).map(([name, value]) => [`${prefix}${name}`, value] as const);
  return Object.fromEntries([...named('', after), ...named('before/', before)]);
}
