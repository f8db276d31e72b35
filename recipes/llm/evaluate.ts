import { findDamage, liveCheckpoints, newestSound } from '../../components/checkpoint/index.js';
import {
  type CheckpointEntry,
  type Evaluation,
  type PreparedData,
  type RunReference,
  type ShardedModel,
  validationMetricsSchema,
} from '../../contracts/index.js';
import { CheckpointError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/index.js';
import type { StepHooks } from '../base/hooks.js';
import { openRun } from '../base/run_folder.js';

export interface EvaluateInput {
  model: ShardedModel;
  data: PreparedData;
}

/**
 * Chooses the commit to publish (the newest, or with `evaluation.load_best` the one with the lowest validation loss) and
 * compares its scores with those before training. Ranks score as they train; this reads what they recorded.
 */
export async function evaluate(
  run: RunReference,
  _input: EvaluateInput,
  hooks: StepHooks,
): Promise<Evaluation> {
  const { recipe, storage } = await openRun(run);
  hooks.progress(null, 'reading scores');
  const newest = (await newestSound(storage)).entry;
  if (newest === null)
    throw new CheckpointError(`${storage.uri}: the run has no sound checkpoint to publish`);
  return evaluationOf(storage, recipe.evaluation.load_best ? await best(storage, newest) : newest);
}

/** What a run's ranks recorded of a commit, beside what they recorded before the first step. */
export async function evaluationOf(storage: Storage, chosen: CheckpointEntry): Promise<Evaluation> {
  return {
    before: withPerplexity(await scoresBefore(storage)),
    after: withPerplexity(chosen.trainer.validation),
    commit: chosen.sequence,
    step: chosen.trainer.step,
  };
}

/** The sound commit with the lowest validation loss. */
async function best(storage: Storage, newest: CheckpointEntry): Promise<CheckpointEntry> {
  const loss = (entry: CheckpointEntry) => entry.trainer.validation.val_loss ?? Number.POSITIVE_INFINITY;
  let chosen = newest;
  for await (const { entry } of liveCheckpoints(storage)) {
    // Publishing reads by ranges, which carry no checksum of their own: every byte is checked here.
    if (entry !== null && loss(entry) < loss(chosen) && (await findDamage(storage, entry)).length === 0)
      chosen = entry;
  }
  return chosen;
}

/** The validation that was made before the first step. */
async function scoresBefore(storage: Storage): Promise<Record<string, number>> {
  if ((await storage.size('metrics.jsonl')) === null) return {};
  const lines = (await storage.read('metrics.jsonl')).toString('utf8').split('\n');
  for (const line of lines) {
    if (!line.includes('"val_loss"')) continue;
    const parsed = validationMetricsSchema.safeParse(JSON.parse(line));
    if (!parsed.success || parsed.data.step !== 0) continue;
    const { step: _step, timestamp: _timestamp, generation: _generation, ...scores } = parsed.data;
    return scores;
  }
  return {};
}

const withPerplexity = (scores: Record<string, number>): Record<string, number> =>
  scores.val_loss === undefined ? scores : { ...scores, perplexity: Math.exp(scores.val_loss) };
