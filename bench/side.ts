/** One side of a comparison: a process that makes a training step for every line it is sent. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { StepOptions, StepResult } from './step.js';

export class Side {
  private constructor(
    private readonly child: ChildProcess,
    private readonly answers: AsyncIterator<string>,
  ) {}

  /** Resolves when weights are loaded and the first step could begin. */
  static async start(command: string, before: readonly string[], options: StepOptions): Promise<Side> {
    const child = spawn(command, [...before, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        ...process.env,
        HF_HUB_OFFLINE: '1',
        TRANSFORMERS_VERBOSITY: 'error',
        HF_HUB_DISABLE_PROGRESS_BARS: '1',
      },
    });
    const side = new Side(child, createInterface({ input: child.stdout! })[Symbol.asyncIterator]());
    await side.#answer();
    return side;
  }

  async step(): Promise<StepResult> {
    this.child.stdin!.write('step\n');
    return JSON.parse(await this.#answer()) as StepResult;
  }

  stop(): void {
    this.child.stdin!.end();
  }

  async #answer(): Promise<string> {
    const { value, done } = await this.answers.next();
    if (done) throw new Error(`${this.child.spawnfile} has ended (its words are above)`);
    return value;
  }
}
