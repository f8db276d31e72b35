/** A program that answers each line of JSON on stdin with a line of JSON on stdout. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

export class LineProcess {
  readonly #name: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(name: string, command: string, args: readonly string[]) {
    this.#name = name;
    this.#child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, HF_HUB_OFFLINE: '1' },
    });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** Sends a job when the jobs before it are answered. Rejects with the `error` of the answer if there is one. */
  ask<T>(job: object): Promise<T> {
    const answer = this.#turn.then(async () => {
      this.#child.stdin.write(`${JSON.stringify(job)}\n`);
      const { value, done } = await this.#answers.next();
      if (done) throw new Error(`${this.#name} has exited`);
      const reply = JSON.parse(value) as T & { error?: string };
      if (reply.error !== undefined) throw new Error(`${this.#name}: ${reply.error}`);
      return reply;
    });
    this.#turn = answer.catch(() => undefined);
    return answer;
  }

  async stop(): Promise<void> {
    this.#lines.close();
    this.#child.stdin.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
  }
}
