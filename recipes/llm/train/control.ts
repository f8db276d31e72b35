import type { RankCommand } from '../../../contracts/index.js';

export type ControlAction = Extract<RankCommand, { type: 'control' }>['action'];

/** What the rank was told and has not yet done. Commands arrive at any time; the step loop looks between steps. */
export class Control {
  /** Why training is to end after the step under way; the first reason wins over `preempt`. */
  ending: 'stopped' | 'preempted' | null = null;
  saveRequested = false;
  #paused = false;
  #wake: () => void = () => {};

  apply(action: ControlAction): void {
    switch (action) {
      case 'pause':
        this.#paused = true;
        return;
      case 'resume':
        this.#paused = false;
        break;
      case 'checkpointNow':
        this.saveRequested = true;
        break;
      case 'stop':
        this.ending = 'stopped';
        break;
      case 'preempt':
        this.ending ??= 'preempted';
        break;
    }
    this.#wake();
  }

  get paused(): boolean {
    return this.#paused && this.ending === null && !this.saveRequested;
  }

  /** Returns at once unless paused; then when resumed, told to save, or told to end. */
  async whilePaused(): Promise<void> {
    while (this.paused) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
