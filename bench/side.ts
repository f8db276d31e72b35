/** One side of a comparison: a process that does its work once for each line that it reads. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** @typeParam Result what it reports about its work, as a line of JSON */
export class Side<Result> {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  private constructor(child: ChildProcess, answers: AsyncIterator<string>) {
    this.#child = child;
    this.#answers = answers;
  }

  /** Resolves when the weights are loaded and the first step can begin. */
  static async start<Result>(
    command: string,
    parameters: readonly string[],
    options: object,
  ): Promise<Side<Result>> {
    const child = spawn(command, [...parameters, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        ...process.env,
        HF_HUB_OFFLINE: '1',
        TRANSFORMERS_VERBOSITY: 'error',
        HF_HUB_DISABLE_PROGRESS_BARS: '1',
      },
    });
    const side = new Side<Result>(child, createInterface({ input: child.stdout! })[Symbol.asyncIterator]());
    await side.#answer();
    return side;
  }

  async step(): Promise<Result> {
    this.#child.stdin!.write('step\n');
    return JSON.parse(await this.#answer()) as Result;
  }

  stop(): void {
    this.#child.stdin!.end();
  }

  async #answer(): Promise<string> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`${this.#child.spawnfile} has exited (its output is above)`);
    return value;
  }
}
