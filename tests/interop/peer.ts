/** peer.py as a process beside the tests, with the interpreter that infra/peers/install.sh keeps. */
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

const root = path.resolve(import.meta.dirname, '../../..');

export interface PeerScores {
  logprobs: number[][];
  /** What transformers found missing, unexpected or mismatched among the weights; empty when all is well. */
  problems: Record<string, string[]>;
}

export class Peer {
  readonly #answers: AsyncIterator<string>;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly child: ChildProcessByStdio<Writable, Readable, null>,
    private readonly lines: Interface,
  ) {
    this.#answers = lines[Symbol.asyncIterator]();
  }

  /** Installs the peers at the first call on a machine, which takes minutes. */
  static start(): Peer {
    const install = path.join(root, 'infra/peers/install.sh');
    const interpreter = execFileSync('bash', [install], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const child = spawn(interpreter.trim(), ['-W', 'ignore', path.join(root, 'tests/interop/peer.py')], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, HF_HUB_OFFLINE: '1' },
    });
    return new Peer(child, createInterface({ input: child.stdout }));
  }

  /** log p(token i+1 | ≤ i) of each document, in float32. */
  score(
    model: string,
    documents: readonly (readonly number[])[],
    adapter: string | null = null,
  ): Promise<PeerScores> {
    return this.#ask({ job: 'score', model, adapter, documents });
  }

  tokenize(model: string, texts: readonly string[]): Promise<{ ids: number[][]; decoded: string[] }> {
    return this.#ask({ job: 'tokenize', model, texts });
  }

  /** Messages in the model's own chat template. */
  chat(model: string, messages: readonly object[]): Promise<{ text: string }> {
    return this.#ask({ job: 'chat', model, messages });
  }

  async stop(): Promise<void> {
    this.lines.close();
    this.child.stdin.end();
    if (this.child.exitCode === null) await once(this.child, 'exit');
  }

  #ask<T>(job: object): Promise<T> {
    const answer = this.#turn.then(async () => {
      this.child.stdin.write(`${JSON.stringify(job)}\n`);
      const { value, done } = await this.#answers.next();
      if (done) throw new Error('peer.py has ended');
      const parsed = JSON.parse(value) as T & { error?: string };
      if (parsed.error !== undefined) throw new Error(`peer.py: ${parsed.error}`);
      return parsed;
    });
    this.#turn = answer.catch(() => undefined);
    return answer;
  }
}
