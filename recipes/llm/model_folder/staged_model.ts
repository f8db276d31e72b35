/** A run's models as local folders to be evaluated: the one it began with, and any commit. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { CheckpointEntry } from '../../../contracts/index.js';
import { openStorage } from '../../../shared/storage/index.js';
import type { StepHooks } from '../../run/progress.js';
import type { OpenRun } from '../kind.js';
import { Publisher } from './publisher.js';

export interface StagedModel {
  /** Model folder. */
  model: string;
  /** PEFT adapter folder, or null. */
  adapter: string | null;
  /** Removes what was made for it. */
  dispose(): Promise<void>;
}

/** ms after which a staged model is nobody's: its process was killed, and nobody came back for it. */
const abandonedTime = 24 * 3_600_000;

/** Stages the start of training: the base model, and the adapter that it continued, if any. */
export async function stageBase({ recipe, cache }: OpenRun, folder: string): Promise<StagedModel> {
  const adapter = recipe.peft?.init_from ?? null;
  const overrides = recipe.model.config_overrides;
  if (Object.keys(overrides).length === 0) return { model: folder, adapter, dispose: async () => {} };
  const view = await overriddenFolder(path.join(cache, 'staged'), folder, overrides);
  return { model: view, adapter, dispose: () => rm(view, { recursive: true, force: true }) };
}

/** Stages a commit under its id, so that an evaluation that was killed finds it again. */
export async function stageCommit(
  run: OpenRun,
  folder: string,
  entry: CheckpointEntry,
  hooks: StepHooks,
): Promise<StagedModel> {
  const home = path.join(run.cache, 'staged');
  await mkdir(home, { recursive: true });
  await dropAbandoned(home);
  const publisher = await Publisher.open(run, folder, entry.sequence);
  const form = run.recipe.peft === null ? 'full' : 'adapter';
  const target = await openStorage(home, { roots: null });
  const progress = (bytes: number) =>
    hooks.progress(null, `fetching step ${entry.trainer.step}, ${Math.round(bytes / 1e6)} MB`);
  const staged = await publisher.publish(target, entry.id, form, '', progress);
  const dispose = () => rm(staged, { recursive: true, force: true });
  if (form === 'full') return { model: staged, adapter: null, dispose };
  const base = await stageBase(run, folder);
  return {
    model: base.model,
    adapter: staged,
    dispose: async () => {
      await dispose();
      await base.dispose();
    },
  };
}

/** Returns the folder with another config.json: links to everything else. */
async function overriddenFolder(
  home: string,
  folder: string,
  overrides: Record<string, unknown>,
): Promise<string> {
  const view = path.join(home, `base-${randomUUID()}`);
  await mkdir(view, { recursive: true });
  for (const name of await readdir(folder)) {
    if (name !== 'config.json') await symlink(path.join(folder, name), path.join(view, name));
  }
  const config = JSON.parse(await readFile(path.join(folder, 'config.json'), 'utf8')) as object;
  await writeFile(path.join(view, 'config.json'), JSON.stringify({ ...config, ...overrides }, null, 2));
  return view;
}

/** Removes what nobody came back for. */
export async function dropAbandoned(home: string): Promise<void> {
  for (const name of await readdir(home)) {
    const entry = path.join(home, name);
    const info = await stat(entry).catch(() => null);
    if (info !== null && Date.now() - info.mtimeMs > abandonedTime)
      await rm(entry, { recursive: true, force: true });
  }
}
