/**
 * The work of one rank between `start` and `exit`: loads the newest commit, trains epoch by epoch, validates, saves,
 * and obeys. It lives in the rank's process; the host worker speaks to it.
 */
import { type MicroBatch, PackReader } from '../../../components/datasets/llm/index.js';
import { learningRate, optimizerInputs } from '../../../components/optim/index.js';
import {
  guardFinite,
  type Schedule,
  type StepPosition,
  savesAfter,
  shouldStop,
  stepPosition,
  stepsPerEpoch,
  totalSteps,
  updateBest,
  validatesAfter,
} from '../../../components/training/index.js';
import type {
  EpochOutcome,
  Progress,
  RankEvent,
  RankStart,
  Resumed,
  StepMetrics,
  TrainerState,
} from '../../../contracts/index.js';
import { type OpenRun, openRun } from '../kind.js';
import { type Recipe, watchedLoss } from '../recipe.js';
import { allBatches, type StepBatches, stepBatches } from './batches.js';
import type { Control } from './control.js';
import { GenerationWatch } from './generation_watch.js';
import { openSession } from './open_session.js';
import { RunCheckpoints } from './run_checkpoints.js';
import type { Session } from './session.js';

export interface Trainer {
  /** Trains until epoch `epoch` (from 0) is done, or until it is requested to end. */
  train(epoch: number): Promise<EpochOutcome>;
  close(): Promise<void>;
}

/**
 * Loads everything and resolves when the first step could begin. Emits progress; throws typed errors.
 *
 * @param control what the rank is asked for, also while it loads
 */
export async function createTrainer(
  start: RankStart,
  control: Control,
  emit: (event: RankEvent) => void,
): Promise<Trainer> {
  const began = performance.now();
  const run = await openRun(start.run);
  const train = await PackReader.open(start.data.train);
  const schedule = buildSchedule(run.recipe, train.packs);
  const session = await openSession(run, start.model, start.device);
  const [checkpoints, loaded] = await RunCheckpoints.resume(run, start, session);
  const validation = new Map<string, PackReader>();
  for (const [name, folder] of Object.entries(start.data.validation)) {
    validation.set(name, await PackReader.open(folder));
  }
  return new RankTrainer({
    run,
    start,
    control,
    schedule,
    session,
    checkpoints,
    train,
    validation,
    journal: checkpoints.journal,
    watch: new GenerationWatch(run.storage, start.generation),
    emit,
    state: loaded.state,
    resumed: { ...loaded.from, loadSeconds: (performance.now() - began) / 1000, firstStepSeconds: null },
  });
}

export function buildSchedule(recipe: Recipe, packs: number): Schedule {
  return {
    packs,
    globalBatch: recipe.data.batch_size.global,
    microBatch: recipe.data.batch_size.micro,
    epochs: recipe.training.num_epochs,
    maxSteps: recipe.training.max_steps,
    saveEvery: recipe.checkpoint.every_steps,
    validateEvery: recipe.evaluation.every_steps,
  };
}

interface Parts {
  run: OpenRun;
  start: RankStart;
  control: Control;
  schedule: Schedule;
  session: Session;
  checkpoints: RunCheckpoints;
  train: PackReader;
  validation: Map<string, PackReader>;
  journal: RunCheckpoints['journal'];
  watch: GenerationWatch;
  emit: (event: RankEvent) => void;
  state: TrainerState;
  resumed: Resumed;
}

/** Mean losses: `val_loss`, and one `val_loss/<name>` each where there are several validation sets. */
type ValidationLosses = { val_loss: number; [name: string]: number };

class RankTrainer implements Trainer {
  readonly #control: Control;
  readonly #parts: Parts;
  #state: TrainerState;
  #resumed: Resumed;
  #lastLoss: number | null = null;
  #lastValidation: Record<string, number> = {};
  #tokensPerSecond: number | null = null;
  #learningRate: number | null = null;
  /** Newest step whose state was copied for a checkpoint. */
  #savedStep: number;
  #next: { step: number; batches: Promise<StepBatches> } | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#control = parts.control;
    this.#state = parts.state;
    this.#resumed = parts.resumed;
    this.#lastValidation = parts.state.validation;
    this.#savedStep = parts.state.step;
    this.#progress('training');
  }

  async train(epoch: number): Promise<EpochOutcome> {
    const { schedule, run } = this.#parts;
    const total = totalSteps(schedule);
    // An untrained adapter changes nothing, so the scores before training are the base model's; those can be had after the
    // first step too, which then need not wait for them.
    const { compileBaseValidation } = this.#parts.session.compiled;
    if (this.#state.step === 0 && compileBaseValidation === null) await this.#validate(0);
    while (this.#state.step < total) {
      const { best } = this.#state;
      if (shouldStop(best, run.recipe.training.early_stopping)) {
        return this.#finish(`no improvement of ${best!.metric} in ${best!.misses} validations`);
      }
      const position = stepPosition(schedule, this.#state.step + 1);
      if (position.epoch > epoch) return this.#outcome('epoch', 'end of epoch');
      await this.#obey();
      if (this.#control.ending !== null) return this.#end(this.#control.ending);
      await this.#step(position);
      if (position.step === 1 && compileBaseValidation !== null) await this.#validateBase();
      if (validatesAfter(schedule, position)) await this.#validate(position.step);
      if (savesAfter(schedule, position) || this.#control.saveRequested) await this.#save();
    }
    return this.#finish(run.recipe.training.max_steps === total ? 'max_steps' : 'last epoch');
  }

  async close(): Promise<void> {
    const { checkpoints, session, train, validation, watch } = this.#parts;
    watch.close();
    await checkpoints.close();
    session.close();
    await Promise.all([train, ...validation.values()].map((reader) => reader.close()));
  }

  /**
   * Waits while paused, and saves what was asked for.
   * @throws FencedError once the run was taken over
   */
  async #obey(): Promise<void> {
    const { watch } = this.#parts;
    if (this.#control.paused) {
      this.#progress('paused');
      await Promise.race([this.#control.whilePaused(), watch.fenced]);
    }
    watch.check();
    if (this.#control.saveRequested) await this.#save();
  }

  async #step(position: StepPosition): Promise<void> {
    const { session, run, schedule, journal, start } = this.#parts;
    const { training, seed } = run.recipe;
    const started = performance.now();
    const batches = await this.#batches(position);
    this.#prefetch(position.step + 1);
    const result = await session.gradients(batches.micro, 1 / Math.max(1, batches.supervised), position.step);
    guardFinite(position.step, result.loss, result.norm, result.norms, session.compiled.training.trained);
    const rate = learningRate(
      training.lr_scheduler,
      training.learning_rate,
      position.step,
      totalSteps(schedule),
    );
    await session.update(optimizerInputs(training.optimizer, position.step, rate, training.clip_grad_norm));
    const seconds = (performance.now() - started) / 1000;
    this.#advance(position, batches, seed);
    this.#lastLoss = result.loss;
    this.#learningRate = rate;
    if (this.#resumed.firstStepSeconds === null)
      this.#resumed = { ...this.#resumed, firstStepSeconds: seconds };
    const tokens = batches.micro.reduce((sum, { ids }) => sum + ids.length, 0);
    this.#tokensPerSecond = smooth(this.#tokensPerSecond, tokens / seconds);
    const metrics: StepMetrics = {
      step: position.step,
      epoch: this.#epochs(),
      loss: result.loss,
      grad_norm: result.norm,
      lr: rate,
      mem: process.resourceUsage().maxRSS * 1024,
      tps: tokens / seconds,
      tps_per_device: tokens / seconds / start.worldSize,
      num_tokens_per_step: tokens,
      num_label_tokens: batches.supervised,
      timestamp: Date.now() / 1000,
      generation: start.generation,
    };
    journal.append(metrics);
    this.#progress('training');
  }

  #advance(position: StepPosition, batches: StepBatches, seed: number): void {
    const ended = position.lastOfEpoch && position.cursor + position.packs >= this.#parts.schedule.packs;
    this.#state = {
      ...this.#state,
      step: position.step,
      epoch: ended ? position.epoch + 1 : position.epoch,
      cursor: ended ? 0 : position.cursor + position.packs,
      seed,
      tokens: this.#state.tokens + batches.tokens,
      supervisedTokens: this.#state.supervisedTokens + batches.supervised,
      validation: {},
    };
  }

  /** Scores the weights of this moment, the state of step `step`. */
  async #validate(step: number): Promise<void> {
    const { validation, session, run } = this.#parts;
    if (validation.size === 0) return;
    const losses = await this.#validationLosses((batch) => session.validationLoss(batch));
    const metric = watchedLoss(run.recipe);
    const value = losses[metric];
    const minDelta = run.recipe.training.early_stopping?.min_delta ?? 0;
    const best =
      step === 0 || value === undefined
        ? this.#state.best
        : updateBest(this.#state.best, { metric, value, step, direction: 'lower', minDelta });
    this.#state = { ...this.#state, validation: losses, best };
    this.#recordValidation(step, losses);
  }

  /** Scores the base model, with which training began. */
  async #validateBase(): Promise<void> {
    const losses = await this.#parts.session.withBaseModel((loss) => this.#validationLosses(loss));
    this.#recordValidation(0, losses);
  }

  async #validationLosses(lossOf: (batch: MicroBatch) => Promise<number>): Promise<ValidationLosses> {
    const { validation, schedule } = this.#parts;
    this.#progress('validating');
    const losses: Record<string, number> = {};
    let [sum, count] = [0, 0];
    for (const [name, reader] of validation) {
      let [setSum, setCount] = [0, 0];
      for await (const batch of allBatches(reader, schedule.microBatch)) {
        setSum += await lossOf(batch);
        setCount += batch.supervised;
      }
      if (validation.size > 1) losses[`val_loss/${name}`] = setSum / Math.max(1, setCount);
      sum += setSum;
      count += setCount;
    }
    return { ...losses, val_loss: sum / Math.max(1, count) };
  }

  #recordValidation(step: number, losses: ValidationLosses): void {
    const { journal, start } = this.#parts;
    this.#lastValidation = losses;
    journal.append({ step, ...losses, timestamp: Date.now() / 1000, generation: start.generation });
    this.#progress('training');
  }

  async #save(): Promise<void> {
    this.#control.saveRequested = false;
    this.#progress('saving');
    await this.#parts.checkpoints.save(this.#state);
    this.#savedStep = this.#state.step;
    this.#progress('training');
  }

  /** Ends on request: everything done so far is committed before the outcome is reported. */
  async #end(kind: 'stopped' | 'preempted'): Promise<EpochOutcome> {
    // A run that is stopped on request is published from here, so its last validation must be of these weights.
    if (kind === 'stopped' && Object.keys(this.#state.validation).length === 0)
      await this.#validate(this.#state.step);
    await this.#saveUnsaved();
    return this.#outcome(kind, kind === 'stopped' ? 'stopped on request' : 'the host was preempted');
  }

  async #finish(reason: string): Promise<EpochOutcome> {
    await this.#saveUnsaved();
    return this.#outcome('finished', reason);
  }

  async #saveUnsaved(): Promise<void> {
    if (this.#state.step > 0 && this.#savedStep !== this.#state.step) await this.#save();
  }

  async #outcome(kind: EpochOutcome['kind'], reason: string): Promise<EpochOutcome> {
    const { checkpoints, journal } = this.#parts;
    await checkpoints.settle();
    if (kind !== 'epoch') await journal.publish();
    return {
      kind,
      reason,
      step: this.#state.step,
      epoch: this.#epochs(),
      commit: checkpoints.newest?.commit ?? null,
      loss: this.#lastLoss,
      validation: this.#lastValidation,
      resumed: this.#resumed,
    };
  }

  #batches(position: StepPosition): Promise<StepBatches> {
    if (this.#next?.step === position.step) return this.#next.batches;
    return this.#load(position);
  }

  /** Reads the next step's packs while this one computes. */
  #prefetch(step: number): void {
    const { schedule } = this.#parts;
    this.#next = null;
    if (step > totalSteps(schedule)) return;
    const batches = this.#load(stepPosition(schedule, step));
    batches.catch(() => undefined); // reported when the step asks for it
    this.#next = { step, batches };
  }

  #load(position: StepPosition): Promise<StepBatches> {
    const { train, schedule, run } = this.#parts;
    return stepBatches(train, schedule, position, run.recipe.seed);
  }

  #epochs(): number {
    return Math.round((this.#state.step / stepsPerEpoch(this.#parts.schedule)) * 1e4) / 1e4;
  }

  #progress(phase: Progress['phase']): void {
    const { schedule, emit, start, checkpoints, run } = this.#parts;
    const total = totalSteps(schedule);
    const perStep = schedule.globalBatch * run.recipe.data.packed_sequence_size;
    const rate = this.#tokensPerSecond;
    const { step } = this.#state;
    emit({
      type: 'progress',
      progress: {
        version: 1,
        phase,
        generation: start.generation,
        step,
        totalSteps: total,
        epoch: this.#epochs(),
        loss: this.#lastLoss,
        valLoss: this.#lastValidation.val_loss ?? null,
        lr: this.#learningRate,
        tokensPerSecond: rate,
        eta: rate === null ? null : ((total - step) * perStep) / rate,
        committedStep: checkpoints.newest?.step ?? null,
        resumed: this.#resumed,
      },
    });
  }
}

const smooth = (before: number | null, now: number): number =>
  before === null ? now : 0.8 * before + 0.2 * now;
