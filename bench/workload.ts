/** The workload that both sides of a comparison run, and the flags that choose it. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { defaultCache, resolveModel } from '../components/models/index.js';
import { defaultThreads } from '../engine/index.js';
import type { StepOptions } from './step.js';

const root = path.resolve(import.meta.dirname, '../..');

/** Flags of a benchmark of training steps, for `parseArgs`. */
export const stepFlags = {
  precision: { type: 'string', default: 'bf16' },
  model: { type: 'string' },
  batch: { type: 'string', default: '2' },
  seq: { type: 'string', default: '512' },
  rank: { type: 'string', default: '16' },
  threads: { type: 'string' },
} as const;

export const stepUsage = `\
  --precision bf16|fp32      type of products and activations          (bf16)
  --model FOLDER|FILE.gguf   weights                                   (SmolLM2-135M-Instruct)
  --batch N --seq N          documents of a step, and their length     (2 × 512)
  --rank N                   rank of LoRA on all linear modules        (16)`;

export interface StepFlags {
  precision: string;
  model?: string | undefined;
  batch: string;
  seq: string;
  rank: string;
  threads?: string | undefined;
}

/** Returns the options of a step that the flags choose; without `--model`, on the quickstart's weights. */
export async function stepOptions(flags: StepFlags): Promise<Omit<StepOptions, 'mode'>> {
  const { folder, model } = await resolveModel(flags.model ?? quickstartWeights());
  return {
    model: folder,
    precision: flags.precision as StepOptions['precision'],
    rank: Number(flags.rank),
    tokens: randomDocuments(Number(flags.batch), Number(flags.seq), model.vocabSize),
    learningRate: 1e-4,
    threads: flags.threads === undefined ? defaultThreads() : Number(flags.threads),
    compile: false,
    profile: false,
  };
}

/** Returns the folder of the quickstart's weights, fetched if they are missing. */
export function quickstartWeights(): string {
  runToText(path.join(root, 'infra/quickstart/fetch_weights.sh'));
  return path.join(defaultCache(), 'models', 'SmolLM2-135M-Instruct.Q4_1.gguf');
}

/** Returns the interpreter that has PyTorch and transformers; installed if it is missing. */
export function peerInterpreter(): string {
  return runToText(path.join(root, 'infra/peers/install.sh'));
}

export function peerProgram(name: string): string {
  return path.join(root, 'bench', name);
}

/** Returns tokens without a pattern, the same every time (Numerical Recipes' generator). */
export function randomDocuments(count: number, length: number, vocabulary: number): number[][] {
  let state = 1;
  const drawToken = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabulary);
  };
  return Array.from({ length: count }, () => Array.from({ length }, drawToken));
}

function runToText(script: string): string {
  return execFileSync('bash', [script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}
