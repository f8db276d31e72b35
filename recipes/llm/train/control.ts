import type { RunRequests } from '../../../contracts/index.js';

/** Requests to the rank that are still to be done. Requests arrive at any time; the step loop looks between steps. */
export class Control {
  /** Why training is to end after the step under way; the first reason wins over `preempt`. */
  ending: 'stopped' | 'preempted' | null = null;
  saveRequested = false;
  #requests: RunRequests | null = null;
  #wake: () => void = () => {};

  /**
   * Applies requests unless newer ones have been applied. A checkpoint that was asked for before the first call is left
   * out: the rank has done nothing since that the commit it starts from does not hold.
   */
  apply(requests: RunRequests): void {
    const before = this.#requests;
    if (before !== null && requests.number <= before.number) return;
    this.#requests = requests;
    if (before !== null && requests.checkpoint > before.checkpoint) this.saveRequested = true;
    if (requests.stopping) this.ending = 'stopped';
    this.#wake();
  }

  /** Ends training after the step under way, for a host that needs its slot back. */
  preempt(): void {
    this.ending ??= 'preempted';
    this.#wake();
  }

  get paused(): boolean {
    return this.#requests?.paused === true && this.ending === null && !this.saveRequested;
  }

  /** Returns at once unless paused; then when resumed, asked to save, or asked to end. */
  async whilePaused(): Promise<void> {
    while (this.paused) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
