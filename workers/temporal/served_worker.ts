/** A Temporal worker that survives its server: when its run ends in an error, another one replaces it. */
import { Worker, type WorkerOptions } from '@temporalio/worker';
import { workerIdentity } from './worker_identity.js';

/** ms before a failed worker is replaced. */
const pause = 2000;

export class ServedWorker {
  /** Resolves when the worker was stopped and its last task is done. */
  readonly done: Promise<void>;
  #worker: Worker;
  readonly #options: WorkerOptions;
  readonly #log: (text: string) => void;
  #stopping = false;
  #wake: () => void = () => {};

  private constructor(worker: Worker, options: WorkerOptions, log: (text: string) => void) {
    this.#worker = worker;
    this.#options = options;
    this.#log = log;
    this.done = this.#serve();
  }

  static async start(options: WorkerOptions, log: (text: string) => void): Promise<ServedWorker> {
    const identified = { identity: workerIdentity(), ...options };
    return new ServedWorker(await Worker.create(identified), identified, log);
  }

  /** Takes no more tasks, and lets those under way finish. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake();
    if (this.#worker.getState() === 'RUNNING') this.#worker.shutdown();
    await this.done;
  }

  async #serve(): Promise<void> {
    while (!this.#stopping) {
      try {
        await this.#worker.run();
        return;
      } catch (error) {
        if (this.#stopping) return;
        this.#log(
          `the worker for task queue ${this.#options.taskQueue} failed and is being replaced: ${(error as Error).message}`,
        );
        await this.#replace();
      }
    }
  }

  async #replace(): Promise<void> {
    while (!this.#stopping) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, pause);
      });
      if (this.#stopping) return;
      try {
        this.#worker = await Worker.create(this.#options);
        return;
      } catch (error) {
        this.#log(
          `the worker for task queue ${this.#options.taskQueue} cannot be replaced yet: ${(error as Error).message}`,
        );
      }
    }
  }
}
