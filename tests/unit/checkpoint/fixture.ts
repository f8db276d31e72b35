import path from 'node:path';
import {
  CheckpointSaver,
  MetricsJournal,
  type RankTensor,
  type SaverOptions,
  takeGeneration,
} from '../../../components/checkpoint/index.js';
import type { CheckpointEntry, TrainerState } from '../../../contracts/index.js';
import { openStorage, type Storage } from '../../../shared/storage/index.js';

let count = 0;
const journals: MetricsJournal[] = [];
afterEach(closeJournals);

/** Closes the journals of the savers made so far, whose files would stay open. */
export async function closeJournals(): Promise<void> {
  for (const journal of journals.splice(0)) await journal.close();
}

/** Returns the storage of a new run below `root`. */
export async function newRun(root: string): Promise<Storage & { folder: string }> {
  count += 1;
  const storage = await openStorage(path.join(root, `run${count}`), { roots: null });
  return storage as Storage & { folder: string };
}

export const digest = 'a'.repeat(64);
export const signature = { engine: '1', isa: 'portable', device: 'cpu', threads: 1, libraries: {} };

export function trainerState(step: number, best: TrainerState['best'] = null): TrainerState {
  return {
    step,
    epoch: 0,
    cursor: step,
    seed: 7,
    tokens: step,
    supervisedTokens: step,
    best,
    validation: {},
  };
}

/** Returns tensors whose values encode the step. */
export function tensorsAt(step: number): RankTensor[] {
  return [
    {
      name: 'w',
      dtype: 'f32',
      role: 'trained',
      shape: [4, 3],
      rows: [0, 4],
      data: Float32Array.from({ length: 12 }, (_, i) => step + i / 16),
    },
    {
      name: 'adam.m/w',
      dtype: 'bf16',
      role: 'optimizer',
      shape: [5],
      rows: [0, 5],
      data: Uint16Array.from([step, 1, 2, 3, 4]),
    },
    { name: 'scalar', dtype: 'f32', role: 'statistic', shape: [], rows: [0, 1], data: Float32Array.of(step) },
  ];
}

export async function newSaver(
  storage: Storage,
  options: Partial<SaverOptions> = {},
): Promise<CheckpointSaver> {
  const generation =
    options.generation ?? (await takeGeneration(storage, { holder: 'pool.host.1', worldSize: 1 })).generation;
  const resumedFrom = options.resumedFrom ?? null;
  const journal = options.journal ?? (await MetricsJournal.open({ storage, generation, resumedFrom }));
  if (options.journal === undefined) journals.push(journal);
  return new CheckpointSaver({
    storage,
    recipeDigest: digest,
    planDigest: digest,
    signature,
    resumedFrom,
    keepLast: 100,
    ...options,
    generation,
    journal,
  });
}

export async function save(
  saver: CheckpointSaver,
  step: number,
  best: TrainerState['best'] = null,
): Promise<CheckpointEntry> {
  const { committed } = await saver.begin({ trainer: trainerState(step, best), tensors: tensorsAt(step) });
  const entry = await committed;
  await saver.settle();
  return entry;
}
