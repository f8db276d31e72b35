/** The workload that both sides of a comparison run. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { defaultCache } from '../components/models/index.js';

const root = path.resolve(import.meta.dirname, '../..');

/** The quickstart's weights, fetched where they are missing. */
export function quickstartWeights(): string {
  runToText(path.join(root, 'infra/quickstart/fetch_weights.sh'));
  return path.join(defaultCache(), 'models', 'SmolLM2-135M-Instruct.Q4_1.gguf');
}

/** The interpreter that has PyTorch and transformers; installed where it is missing. */
export function peerInterpreter(): string {
  return runToText(path.join(root, 'infra/peers/install.sh'));
}

export function peerProgram(name: string): string {
  return path.join(root, 'bench', name);
}

/** Tokens without a pattern, the same every time (Numerical Recipes' generator). */
export function randomDocuments(count: number, length: number, vocabulary: number): number[][] {
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * vocabulary);
  };
  return Array.from({ length: count }, () => Array.from({ length }, next));
}

function runToText(script: string): string {
  return execFileSync('bash', [script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}
