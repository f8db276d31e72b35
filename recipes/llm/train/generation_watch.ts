/** Notices that another generation, or another workflow, has taken the run over. */
import { requireGeneration } from '../../../components/checkpoint/index.js';
import { FencedError } from '../../../shared/errors.js';
import type { Storage } from '../../../shared/storage/index.js';

const intervalSeconds = 30;

/**
 * Asks the commit log every 30 s whether a generation still holds the run. Commits would find out as well, but hours later
 * where checkpoints are rare, and what a fenced rank computes meanwhile is lost.
 */
export class GenerationWatch {
  /** Rejects with the FencedError; never resolves. */
  readonly fenced: Promise<never>;
  #error: FencedError | null = null;
  #asking = false;
  readonly #timer: NodeJS.Timeout;

  constructor(storage: Storage, generation: number) {
    let reject!: (error: FencedError) => void;
    this.fenced = new Promise<never>((_, fail) => {
      reject = fail;
    });
    // Training calls `check`; only a pause waits for the promise.
    this.fenced.catch(() => undefined);
    const ask = async (): Promise<void> => {
      if (this.#asking || this.#error !== null) return;
      this.#asking = true;
      try {
        await requireGeneration(storage, generation);
      } catch (error) {
        // A store that cannot be reached proves nothing; the next answer may.
        if (!(error instanceof FencedError)) return;
        this.#error = error;
        reject(error);
      } finally {
        this.#asking = false;
      }
    };
    this.#timer = setInterval(() => void ask(), intervalSeconds * 1000);
    this.#timer.unref();
  }

  /** @throws FencedError once the run was taken over */
  check(): void {
    if (this.#error !== null) throw this.#error;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
