/** Step 4 of a run: its tasks on the model before and after, and on the commit of each epoch. */
import {
  type Damage,
  DamagedCheckpoint,
  describeDamage,
  findDamage,
  liveCheckpoints,
  newestSound,
  readHistory,
  writeHistory,
} from '../../../components/checkpoint/index.js';
import { findDirection, isValidationMetric } from '../../../components/evaluation/index.js';
import { shouldStop, updateBest } from '../../../components/training/index.js';
import {
  type CheckpointEntry,
  type EpochEvaluation,
  type Evaluation,
  type EvaluationHistory,
  metricsKey,
  type PreparedData,
  type RunReference,
  type TrainerState,
  type VerifiedModel,
  validationMetricsSchema,
} from '../../../contracts/index.js';
import { CheckpointError, TemperError } from '../../../shared/errors.js';
import type { Storage } from '../../../shared/storage/index.js';
import type { StepHooks } from '../../run/progress.js';
import { type OpenRun, openRun } from '../kind.js';
import { logAllMetrics } from '../loggers.js';
import type { Recipe } from '../recipe.js';
import { scoreSubject } from './evaluate_subject.js';
import { prepareTasks, type TaskScores } from './evaluate_tasks.js';
import { type JobRunner, runEvaluationJob } from './evaluation_job.js';
import { currentEntries, recordScores, settleMetrics } from './evaluation_records.js';

export interface EvaluateInput {
  model: VerifiedModel;
  data: PreparedData;
}

/** A final model that `evaluation.require` does not allow to be published. */
export class RequirementNotMet extends TemperError {
  constructor(message: string) {
    super('RequirementNotMet', message);
  }
}

/**
 * Chooses the commit to publish (the newest, or with `evaluation.load_best` the one with the best `evaluation.metric`) and
 * compares its scores with those before training. What is stored already is not computed again; checkpoints that are
 * damaged are passed over, and named in the result. Throws RequirementNotMet when a final metric is outside
 * `evaluation.require`.
 */
export async function evaluate(
  run: RunReference,
  { model }: EvaluateInput,
  hooks: StepHooks,
  runner: JobRunner = runEvaluationJob,
): Promise<Evaluation> {
  const openedRun = await openRun(run);
  const { recipe, storage } = openedRun;
  hooks.progress(null, 'reading scores');
  const { newest, chosen, damage } = await chooseCommit(openedRun);
  if (recipe.evaluation.tasks.length > 0) {
    const tasks = await prepareTasks(recipe.evaluation.tasks);
    const say = (what: string): StepHooks => ({
      signal: hooks.signal,
      progress: (fraction, text) => hooks.progress(fraction, `${what}: ${text}`),
    });
    const subject = { run: openedRun, model, tasks };
    const before = await scoreSubject({ ...subject, commit: null }, runner, say('before'));
    await recordScores(storage, null, before);
    const after = await scoreSubject({ ...subject, commit: chosen }, runner, say('after'));
    await settleMetrics(storage, await recordScores(storage, chosen, after), newest.trainer.step);
  }
  await logAllMetrics(openedRun);
  const evaluation = { ...(await readScores(storage, chosen)), damage: damage.map(describeDamage) };
  requireBounds(recipe, evaluation, storage);
  return evaluation;
}

/**
 * Evaluates the tasks that every epoch asks for on the commit of `step`, and judges whether training should stop. Notes
 * which commit must be kept. Nothing is done for a resumed run's epochs, whose end was passed before. A commit whose weights
 * are damaged gets no scores; the result names the damage.
 */
export async function evaluateEpoch(
  run: RunReference,
  { model, step, finished }: { model: VerifiedModel; step: number; finished: boolean },
  hooks: StepHooks,
  runner: JobRunner = runEvaluationJob,
): Promise<EpochEvaluation> {
  const openedRun = await openRun(run);
  const { recipe, storage } = openedRun;
  const { commit, damage } = await findCommit(storage, step);
  if (commit === null || (!finished && commit.trainer.cursor !== 0)) return unscored(damage);
  const tasks = (await prepareTasks(recipe.evaluation.tasks)).filter(
    ({ options }) => options.when === 'epoch',
  );
  let scores: TaskScores[];
  try {
    scores = await scoreSubject({ run: openedRun, model, tasks, commit }, runner, hooks);
  } catch (error) {
    // The rank has these weights in memory and trains on: its next commit may well be sound.
    if (error instanceof DamagedCheckpoint) return unscored(error.damage);
    throw error;
  }
  const history = await recordScores(storage, commit, scores);
  await writeHistory(storage, { ...history, keep: stepsToKeep(recipe, history, step) });
  const entry = currentEntries(history, step).at(-1)!;
  const values = Object.entries(entry.scores).map(([metric, { value }]) => [metric, value] as const);
  return { scores: Object.fromEntries(values), stop: stopReason(recipe, history, step), damage: [] };
}

const unscored = (damage: readonly Damage[]): EpochEvaluation => ({
  scores: {},
  stop: null,
  damage: damage.map(describeDamage),
});

export type CommitScores = Omit<Evaluation, 'damage'>;

/** Returns the scores that a run's ranks and tasks reported for a commit, and of the model that training began with. */
export async function readScores(storage: Storage, chosen: CheckpointEntry): Promise<CommitScores> {
  const { entries } = await readHistory(storage);
  const scoresOf = (commit: string | null) => entries.find((entry) => entry.commit === commit)?.scores ?? {};
  const scores = { before: scoresOf(null), after: scoresOf(chosen.id) };
  const values = (of: typeof scores.before) =>
    Object.fromEntries(Object.entries(of).map(([metric, { value }]) => [metric, value]));
  return {
    before: { ...withPerplexity(await scoresBefore(storage)), ...values(scores.before) },
    after: { ...withPerplexity(chosen.trainer.validation), ...values(scores.after) },
    scores,
    commit: chosen.sequence,
    step: chosen.trainer.step,
  };
}

/** Returns the newest commit of a step; where there is none, the entries that may have been it and cannot be read. */
async function findCommit(
  storage: Storage,
  step: number,
): Promise<{ commit: CheckpointEntry | null; damage: Damage[] }> {
  const damage: Damage[] = [];
  for await (const checkpoint of liveCheckpoints(storage)) {
    if (checkpoint.entry === null) damage.push(checkpoint.damage);
    else if (checkpoint.entry.trainer.step === step) return { commit: checkpoint.entry, damage: [] };
  }
  return { commit: null, damage };
}

interface Choice {
  newest: CheckpointEntry;
  chosen: CheckpointEntry;
  /** Damage of the checkpoints that were passed over. */
  damage: Damage[];
}

/**
 * Returns the newest sound commit and the one to publish.
 * @throws CheckpointError when none is sound
 */
async function chooseCommit({ recipe, storage }: OpenRun): Promise<Choice> {
  const { entry: newest, damage } = await newestSound(storage);
  if (newest === null) {
    const problem = `${storage.uri}: the run has no sound checkpoint to publish`;
    throw new CheckpointError([problem, ...damage.map(describeDamage)].join('\n'));
  }
  if (!recipe.evaluation.load_best) return { newest, chosen: newest, damage };
  const best = await chooseBest(storage, recipe, newest);
  return { newest, chosen: best.chosen, damage: [...damage, ...best.damage] };
}

/** Returns the sound commit with the best value of the watched metric, the newest if several tie. */
async function chooseBest(
  storage: Storage,
  { evaluation: { metric, tasks } }: Recipe,
  newest: CheckpointEntry,
): Promise<Pick<Choice, 'chosen' | 'damage'>> {
  const history = await readHistory(storage);
  const sign = findDirection(metric, tasks) === 'higher' ? 1 : -1;
  const gain = (entry: CheckpointEntry): number => {
    const judged = history.entries.find(({ commit }) => commit === entry.id);
    const value = entry.trainer.validation[metric] ?? judged?.scores[metric]?.value;
    return value === undefined ? Number.NEGATIVE_INFINITY : sign * value;
  };
  let chosen = newest;
  const damage: Damage[] = [];
  for await (const checkpoint of liveCheckpoints(storage)) {
    const { entry, sequence } = checkpoint;
    // Newer ones are damaged, and named already.
    if (sequence >= newest.sequence) continue;
    if (entry === null) damage.push(checkpoint.damage);
    else if (gain(entry) > gain(chosen)) {
      // Publishing reads by ranges, which carry no checksum of their own: every byte is checked here.
      const entryDamage = await findDamage(storage, entry);
      if (entryDamage.length === 0) chosen = entry;
      damage.push(...entryDamage);
    }
  }
  return { chosen, damage };
}

/** Returns the step that retention must keep: that of the best commit so far, where a task decides which that is. */
function stepsToKeep({ evaluation }: Recipe, history: EvaluationHistory, step: number): number[] {
  const { load_best, metric } = evaluation;
  if (!load_best || isValidationMetric(metric)) return [];
  const bestStep = bestSoFar(evaluation.tasks, metric, 0, history, step);
  return bestStep === null ? [] : [bestStep.step];
}

/** Returns why early stopping by a task's metric ends training here; null when it does not. */
function stopReason(
  { training, evaluation }: Recipe,
  history: EvaluationHistory,
  step: number,
): string | null {
  const rule = training.early_stopping;
  if (rule === null || isValidationMetric(rule.metric)) return null;
  const bestScore = bestSoFar(evaluation.tasks, rule.metric, rule.min_delta, history, step);
  if (!shouldStop(bestScore, rule)) return null;
  return `no improvement of ${rule.metric} in ${bestScore!.misses} evaluations`;
}

function bestSoFar(
  tasks: Recipe['evaluation']['tasks'],
  metric: string,
  minDelta: number,
  history: EvaluationHistory,
  lastStep: number,
): TrainerState['best'] {
  const direction = findDirection(metric, tasks) ?? 'higher';
  let bestScore: TrainerState['best'] = null;
  for (const { step, commit, scores } of currentEntries(history, lastStep)) {
    const value = scores[metric]?.value;
    if (commit === null || value === undefined) continue;
    bestScore = updateBest(bestScore, { metric, value, step, direction, minDelta });
  }
  return bestScore;
}

function requireBounds(recipe: Recipe, { after, step }: Evaluation, storage: Storage): void {
  const failures = Object.entries(recipe.evaluation.require).flatMap(([metric, { min, max }]) => {
    const value = after[metric];
    const bounds = [
      min === undefined ? '' : `at least ${min}`,
      max === undefined ? '' : `at most ${max}`,
    ].filter((part) => part !== '');
    if (value !== undefined && value >= (min ?? value) && value <= (max ?? value)) return [];
    return [`${metric} is ${value ?? 'unknown'} and must be ${bounds.join(' and ')}`];
  });
  if (failures.length === 0) return;
  throw new RequirementNotMet(
    `the model of step ${step} does not meet evaluation.require, and nothing was published: ${failures.join('; ')}. ` +
      `Its checkpoint is in ${storage.uri}; to publish it anyway: temper export ${storage.uri} --step ${step} --output FOLDER`,
  );
}

/** Returns the validation that was made before the first step. */
async function scoresBefore(storage: Storage): Promise<Record<string, number>> {
  if ((await storage.size(metricsKey)) === null) return {};
  const lines = (await storage.read(metricsKey)).toString('utf8').split('\n');
  for (const line of lines) {
    if (!line.includes('"val_loss"')) continue;
    const metrics = validationMetricsSchema.safeParse(JSON.parse(line));
    if (!metrics.success || metrics.data.step !== 0) continue;
    const { step: _step, timestamp: _timestamp, generation: _generation, ...scores } = metrics.data;
    return scores;
  }
  return {};
}

const withPerplexity = (scores: Record<string, number>): Record<string, number> =>
  scores.val_loss === undefined ? scores : { ...scores, perplexity: Math.exp(scores.val_loss) };
