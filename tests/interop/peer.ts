/** peer.py as a process beside the tests, with the interpreter that infra/peers/install.sh keeps. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { LineProcess } from './line_process.js';

export const root = path.resolve(import.meta.dirname, '../../..');

export interface PeerScores {
  logprobs: number[][];
  /** What transformers found missing, unexpected or mismatched among the weights; empty when all is well. */
  problems: Record<string, string[]>;
}

export interface Greedy {
  /** The new tokens. */
  ids: number[];
  /** By how much the best logit of each surpassed the second best. */
  margins: number[];
}

/** Path that an installing script of infra/peers prints; installs at the first call on a machine, which takes minutes. */
export function installed(script: string, ...args: string[]): string {
  const install = path.join(root, 'infra/peers', script);
  return execFileSync('bash', [install, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
}

/** transformers and peft. */
export class Peer {
  private constructor(private readonly process: LineProcess) {}

  static start(): Peer {
    const script = path.join(root, 'tests/interop/peer.py');
    return new Peer(new LineProcess('peer.py', installed('install.sh'), ['-W', 'ignore', script]));
  }

  /** log p(token i+1 | ≤ i) of each document, in float32. */
  score(
    model: string,
    documents: readonly (readonly number[])[],
    adapter: string | null = null,
  ): Promise<PeerScores> {
    return this.process.ask({ job: 'score', model, adapter, documents });
  }

  /** Greedy tokens after each prompt, `tokens` of them whatever they are. */
  greedy(
    model: string,
    prompts: readonly (readonly number[])[],
    tokens: number,
  ): Promise<{ answers: Greedy[] }> {
    return this.process.ask({ job: 'greedy', model, prompts, tokens });
  }

  tokenize(model: string, texts: readonly string[]): Promise<{ ids: number[][]; decoded: string[] }> {
    return this.process.ask({ job: 'tokenize', model, texts });
  }

  /** Messages in the model's own chat template. */
  chat(model: string, messages: readonly object[]): Promise<{ text: string }> {
    return this.process.ask({ job: 'chat', model, messages });
  }

  stop(): Promise<void> {
    return this.process.stop();
  }
}
