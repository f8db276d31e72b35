/** ONNX Runtime in a process of its own: log-probabilities of an exported decoder. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';

export interface OnnxJob {
  /** A .onnx file. */
  model: string;
  documents: readonly (readonly number[])[];
  /** Each document in one run, or in pieces through the key-value cache, or all in one batch padded on the left. */
  how: 'whole' | 'cached' | 'padded';
  /** Inputs in addition to the usual ones, float32. */
  extra?: Record<string, { shape: number[]; data: number[] }>;
}

export type OnnxAnswer = { logprobs: number[][] } | { error: string };

export class OnnxProcess {
  readonly #child: ChildProcess = fork(path.join(import.meta.dirname, 'onnx_process.js'), [], {
    serialization: 'advanced',
    execArgv: [],
  });

  /** Returns log p(token i+1 | ≤ i) of each document. One job at a time. */
  async score(job: OnnxJob): Promise<number[][]> {
    this.#child.send(job);
    const listeners = new AbortController();
    const exit = once(this.#child, 'exit', listeners).then(([code, signal]) => {
      throw new Error(`ONNX Runtime's process ended (${code ?? signal})`);
    });
    try {
      const [answer] = (await Promise.race([once(this.#child, 'message', listeners), exit])) as [OnnxAnswer];
      if ('error' in answer) throw new Error(answer.error);
      return answer.logprobs;
    } finally {
      listeners.abort();
    }
  }

  async stop(): Promise<void> {
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}
