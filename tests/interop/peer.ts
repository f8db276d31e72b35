/** peer.py as a process of its own, with the interpreter that infra/peers/install.sh keeps. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { LineProcess } from './line_process.js';

export const root = path.resolve(import.meta.dirname, '../../..');

export interface PeerScores {
  logprobs: number[][];
  /** Weights that are missing, unexpected or mismatched for transformers; empty when all is well. */
  problems: Record<string, string[]>;
}

export interface Greedy {
  /** The new tokens. */
  ids: number[];
  /** The lead of the best logit of each over the second best. */
  margins: number[];
}

/** Runs an install script of infra/peers, which takes minutes the first time, and returns the path that it prints. */
export function installPeer(script: string, ...args: string[]): string {
  const install = path.join(root, 'infra/peers', script);
  return execFileSync('bash', [install, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
}

/** transformers and peft. */
export class Peer {
  readonly #process: LineProcess;

  private constructor(process: LineProcess) {
    this.#process = process;
  }

  static start(): Peer {
    const script = path.join(root, 'tests/interop/peer.py');
    return new Peer(new LineProcess('peer.py', installPeer('install.sh'), ['-W', 'ignore', script]));
  }

  /** Returns log p(token i+1 | ≤ i) of each document, in float32. */
  score(
    model: string,
    documents: readonly (readonly number[])[],
    adapter: string | null = null,
  ): Promise<PeerScores> {
    return this.#process.ask({ job: 'score', model, adapter, documents });
  }

  /** Returns `tokens` greedy tokens after each prompt, without stopping at an end-of-sequence token. */
  greedy(
    model: string,
    prompts: readonly (readonly number[])[],
    tokens: number,
  ): Promise<{ answers: Greedy[] }> {
    return this.#process.ask({ job: 'greedy', model, prompts, tokens });
  }

  tokenize(model: string, texts: readonly string[]): Promise<{ ids: number[][]; decoded: string[] }> {
    return this.#process.ask({ job: 'tokenize', model, texts });
  }

  /** Returns the messages in the model's own chat template. */
  chat(model: string, messages: readonly object[]): Promise<{ text: string }> {
    return this.#process.ask({ job: 'chat', model, messages });
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}
