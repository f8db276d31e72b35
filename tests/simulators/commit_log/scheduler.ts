/**
 * Decides which actor continues. Every operation of the simulated storage waits for its turn, and draws from a seed decide
 * whose turn it is, who is stopped for a while (SIGSTOP) and who is killed. Nothing depends on a clock.
 */

import type { Random } from '../../support/random.js';

interface Waiting {
  /** The actor that waits; null for an event of its own, such as a request on its way or a timer. */
  actor: string | null;
  resume: () => void;
}

const { setImmediate: runAfterMicrotasks } = globalThis;

export class Scheduler {
  readonly #random: Random;
  #waiting: Waiting[] = [];
  readonly #killed = new Set<string>();
  /** How many turns each stopped actor still has to wait. */
  readonly #stopped = new Map<string, number>();

  constructor(random: Random) {
    this.#random = random;
  }

  /** Resolves when it is the actor's turn: never, when the actor is killed first. */
  turn(actor: string): Promise<void> {
    return new Promise((resume) => {
      if (!this.#killed.has(actor)) this.#waiting.push({ actor, resume });
    });
  }

  /** Lets something happen at some time, even if the actor that caused it is killed. */
  later(effect: () => void): void {
    this.#waiting.push({ actor: null, resume: effect });
  }

  stop(actor: string, turns: number): void {
    this.#stopped.set(actor, turns);
  }

  kill(actor: string): void {
    this.#killed.add(actor);
    this.#waiting = this.#waiting.filter((waiting) => waiting.actor !== actor);
  }

  /** Gives turns until no one waits for one. Timers that start meanwhile are turns as well. */
  async run(): Promise<void> {
    const { setTimeout: realSetTimeout } = globalThis;
    const { random: realRandom } = Math;
    globalThis.setTimeout = ((callback: () => void) => this.later(callback)) as never;
    Math.random = () => this.#random.next();
    try {
      for (;;) {
        await new Promise((resolve) => runAfterMicrotasks(resolve));
        const waiting = this.#takeNext();
        if (waiting === null) return;
        waiting.resume();
      }
    } finally {
      globalThis.setTimeout = realSetTimeout;
      Math.random = realRandom;
    }
  }

  #takeNext(): Waiting | null {
    for (const [actor, turns] of this.#stopped) {
      if (turns === 0) this.#stopped.delete(actor);
      else this.#stopped.set(actor, turns - 1);
    }
    if (this.#waiting.length === 0) return null;
    const ready = this.#waiting.filter(({ actor }) => actor === null || !this.#stopped.has(actor));
    if (ready.length === 0) this.#stopped.clear();
    const candidates = ready.length === 0 ? this.#waiting : ready;
    const next = candidates[this.#random.below(candidates.length)]!;
    this.#waiting.splice(this.#waiting.indexOf(next), 1);
    return next;
  }
}
