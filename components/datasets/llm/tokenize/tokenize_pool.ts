/** Worker threads that tokenize chunks, so that the event loop (heartbeats, signals) stays free whatever their number. */
import { Worker } from 'node:worker_threads';
import { DataError } from '../../../../shared/errors.js';
import { errorFrom } from '../../../../shared/processes/failures.js';
import type { ChunkSummary } from './chunk_store.js';
import type { ChunkTask, PoolSettings, TaskReply, ThreadSettings } from './thread_messages.js';

/**
 * Runs every task. After a failure no further task starts, and the failure of the lowest task is thrown: which one that
 * is does not depend on the number of threads. `onDone` is called for each finished task.
 *
 * @throws DataError for a row that takes longer than `rowSeconds`, or more memory than a thread has
 */
export async function tokenizeAll(
  tasks: readonly ChunkTask[],
  settings: PoolSettings,
  threads: number,
  onDone: (task: ChunkTask, summary: ChunkSummary) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  let next = 0;
  const failures: { task: number; error: Error }[] = [];
  const serve = async (): Promise<void> => {
    const thread = new TokenizerThread(settings);
    try {
      while (next < tasks.length && failures.length === 0) {
        signal?.throwIfAborted();
        const number = next++;
        const reply = await thread.run(tasks[number]!, signal);
        if ('summary' in reply) onDone(tasks[number]!, reply.summary);
        else failures.push({ task: number, error: errorFrom(reply.failure) });
      }
    } finally {
      await thread.end();
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: Math.min(threads, tasks.length) }, serve));
  signal?.throwIfAborted();
  const [first] = failures.sort((a, b) => a.task - b.task);
  if (first !== undefined) throw first.error;
  const rejected = outcomes.find((outcome) => outcome.status === 'rejected');
  if (rejected !== undefined) throw rejected.reason;
}

class TokenizerThread {
  readonly #worker: Worker;
  readonly #position = new Int32Array(new SharedArrayBuffer(8));
  readonly #rowSeconds: number;

  constructor(settings: PoolSettings) {
    this.#rowSeconds = settings.rowSeconds;
    const workerData: ThreadSettings = { ...settings, position: this.#position };
    this.#worker = new Worker(new URL('./tokenize_worker.js', import.meta.url), { workerData });
  }

  run(task: ChunkTask, signal: AbortSignal | undefined): Promise<TaskReply> {
    return new Promise((resolve, reject) => {
      const worker = this.#worker;
      const finish = (settle: () => void): void => {
        worker.off('message', onMessage).off('error', onError).off('exit', onExit);
        signal?.removeEventListener('abort', onAbort);
        clearInterval(clock);
        settle();
      };
      const onMessage = (reply: TaskReply): void => finish(() => resolve(reply));
      const onError = (error: Error): void => finish(() => reject(this.#explain(error, task)));
      const onExit = (code: number): void =>
        finish(() => reject(new Error(`a tokenizing thread ended with code ${code}`)));
      const onAbort = (): void => finish(() => reject(signal!.reason as Error));
      const clock = this.#watchRows(() => finish(() => reject(this.#tooSlow(task))));
      worker.on('message', onMessage).on('error', onError).on('exit', onExit);
      signal?.addEventListener('abort', onAbort);
      worker.postMessage(task);
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  /** Calls `expire` when the thread has begun no further row for so long. */
  #watchRows(expire: () => void): NodeJS.Timeout {
    const interval = Math.min(1000, this.#rowSeconds * 250);
    let [rows, seconds] = [Atomics.load(this.#position, 0), 0];
    return setInterval(() => {
      const begun = Atomics.load(this.#position, 0);
      seconds = begun === rows ? seconds + interval / 1000 : 0;
      rows = begun;
      if (seconds > this.#rowSeconds) expire();
    }, interval);
  }

  #row({ chunk }: ChunkTask): string {
    return `${chunk.file ?? 'generated data'}: row ${Atomics.load(this.#position, 1) + 1}`;
  }

  #tooSlow(task: ChunkTask): DataError {
    return new DataError(
      `${this.#row(task)}: not read, rendered and tokenized within ${this.#rowSeconds} s: ` +
        "shorten the row, or correct the model's chat template",
    );
  }

  #explain(error: Error, task: ChunkTask): Error {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_WORKER_OUT_OF_MEMORY') return error;
    return new DataError(
      `${this.#row(task)}: reading, rendering and tokenizing it takes more memory than a thread has: ` +
        "shorten the row, or correct the model's chat template",
      { cause: error },
    );
  }
}
