/**
 * Training steps on the engine, through the recipe's own session, in a process of their own. Takes StepOptions as JSON in
 * its first argument; then, for every line on stdin, makes a step and prints a StepResult as a line of JSON.
 */
import { createInterface } from 'node:readline';
import { assembleMicroBatch, type MicroBatch } from '../components/datasets/llm/index.js';
import { locateWeights, openModel } from '../components/models/index.js';
import { optimizerInputs } from '../components/optim/index.js';
import { adapterInit } from '../components/peft/index.js';
import { type Recipe, recipeSchema } from '../recipes/llm/recipe.js';
import { compileRun } from '../recipes/llm/train/plan_cache.js';
import { Session } from '../recipes/llm/train/session.js';

export interface StepOptions {
  /** Model folder. */
  model: string;
  mode: 'lora' | 'full';
  precision: 'bf16' | 'fp32';
  /** Rank of LoRA on every linear module of the decoder. */
  rank: number;
  /** Documents of one micro-batch, all of one length. */
  tokens: number[][];
  learningRate: number;
  threads: number;
  /** The peer uses torch.compile. */
  compile: boolean;
  /** Our side measures the seconds of each op, which costs a little time itself. */
  profile: boolean;
}

export interface StepResult {
  seconds: number;
  loss: number;
  /** Gradient norm before clipping. */
  norm: number;
  /** Largest resident set so far. */
  peakBytes: number;
  /** Seconds of each op since the first step; null without `profile`. */
  profile: { op: string; runs: number; seconds: number }[] | null;
}

const options = JSON.parse(process.argv[2]!) as StepOptions;
process.env.TEMPER_THREADS = String(options.threads);
await serve(options);

async function serve({ tokens, learningRate, profile }: StepOptions): Promise<void> {
  const recipe = buildRecipe(options);
  const session = await open(recipe);
  const batch = buildBatch(tokens);
  process.stdout.write('ready\n');
  let step = 0;
  for await (const _ of createInterface({ input: process.stdin })) {
    step += 1;
    if (profile && step === 2) session.context.profile(true);
    const start = performance.now();
    const { loss, norm } = await session.gradients([batch], 1 / batch.supervised, step);
    await session.update(optimizerInputs(recipe.training.optimizer, step, learningRate, 1));
    const result: StepResult = {
      seconds: (performance.now() - start) / 1000,
      loss,
      norm,
      peakBytes: process.resourceUsage().maxRSS * 1024,
      profile: profile ? session.context.profileTimes() : null,
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  session.close();
}

/** Returns a micro-batch in which each document is a pack of its own. */
function buildBatch(tokens: StepOptions['tokens']): MicroBatch {
  const size = tokens[0]!.length;
  const packs = tokens.map((ids, number) => ({
    number,
    ids: Int32Array.from(ids),
    labels: Int32Array.from(ids),
    starts: [0],
    tokens: size,
    supervised: size - 1,
  }));
  return assembleMicroBatch(packs, size, packs.length);
}

function buildRecipe({ model, mode, precision, rank, tokens }: StepOptions): Recipe {
  return recipeSchema.parse({
    name: 'bench',
    model: { name: model },
    peft: mode === 'full' ? null : { type: 'lora', rank, alpha: 2 * rank, target_modules: 'all-linear' },
    data: {
      train: { dataset_type: 'mock' },
      packed_sequence_size: tokens[0]!.length,
      batch_size: { global: tokens.length, micro: tokens.length },
    },
    training: { precision, optimizer: { name: 'adamw', betas: [0.9, 0.95], weight_decay: 0.01 } },
  });
}

async function open(recipe: Recipe): Promise<Session> {
  const folder = recipe.model.name;
  const model = await openModel(folder);
  const weights = await locateWeights(folder, model);
  const compiled = await compileRun(recipe, model, weights, 'cpu:0', Number.MAX_SAFE_INTEGER);
  return Session.open(compiled, {
    device: 'cpu:0',
    weights,
    constants: model.constants(compiled.positions),
    inits: compiled.adapted === null ? [] : adapterInit(compiled.adapted, recipe.peft!),
    initial: new Map(),
    seed: recipe.seed,
  });
}
