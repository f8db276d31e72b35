/** Worker threads that tokenise chunks, so that the event loop (heartbeats, signals) stays free whatever their number. */
import { Worker } from 'node:worker_threads';
import { DataError, ModelError, TemperError } from '../../../shared/errors.js';
import type { SingleDataset } from './schema.js';
import type { Chunk } from './sources/chunk.js';
import type { TokenizerSource } from './tokenizer.js';

export interface PoolSettings {
  tokenizer: TokenizerSource | null;
  vocabularySize: number | null;
  packedSequenceSize: number;
  /** Modules that register further dataset types. */
  extensions: readonly string[];
}

export interface ChunkTask {
  chunk: Chunk;
  dataset: SingleDataset;
  /** Where the tokenised chunk goes. */
  file: string;
}

export interface TaskResult {
  documents: number;
  tokens: number;
}

type Reply = { result: TaskResult } | { failure: { code: string | null; message: string } };

/**
 * Runs every task. After a failure no further task starts, and the failure of the lowest task is thrown: which one that
 * is does not depend on the number of threads. `onDone` hears of each finished task.
 */
export async function tokeniseAll(
  tasks: readonly ChunkTask[],
  settings: PoolSettings,
  threads: number,
  onDone: (task: ChunkTask, result: TaskResult) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  let next = 0;
  const failures: { task: number; error: Error }[] = [];
  const serve = async (): Promise<void> => {
    const worker = new Worker(new URL('./tokenise_worker.js', import.meta.url), { workerData: settings });
    try {
      while (next < tasks.length && failures.length === 0) {
        signal?.throwIfAborted();
        const number = next++;
        const reply = await ask(worker, tasks[number]!, signal);
        if ('result' in reply) onDone(tasks[number]!, reply.result);
        else failures.push({ task: number, error: restore(reply.failure) });
      }
    } finally {
      await worker.terminate();
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: Math.min(threads, tasks.length) }, serve));
  signal?.throwIfAborted();
  const [first] = failures.sort((a, b) => a.task - b.task);
  if (first !== undefined) throw first.error;
  const rejected = outcomes.find((outcome) => outcome.status === 'rejected');
  if (rejected !== undefined) throw rejected.reason;
}

function ask(worker: Worker, task: ChunkTask, signal: AbortSignal | undefined): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
      signal?.removeEventListener('abort', onAbort);
      settle();
    };
    const onMessage = (reply: Reply): void => finish(() => resolve(reply));
    const onError = (error: Error): void => finish(() => reject(error));
    const onExit = (code: number): void =>
      finish(() => reject(new Error(`a tokenising thread ended with code ${code}`)));
    const onAbort = (): void => finish(() => reject(signal!.reason as Error));
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
    signal?.addEventListener('abort', onAbort);
    worker.postMessage(task);
  });
}

function restore({ code, message }: { code: string | null; message: string }): Error {
  if (code === 'DataError') return new DataError(message);
  if (code === 'ModelError') return new ModelError(message);
  return code === null ? new Error(message) : new TemperError(code, message);
}
