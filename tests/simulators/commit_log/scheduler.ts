/**
 * Decides who goes on. Every operation of the simulated storage waits for its turn, and draws from a seed say whose turn
 * it is, who is stopped for a while (SIGSTOP) and who is killed. Nothing depends on a clock.
 */

import type { Random } from '../../support/random.js';

interface Waiting {
  /** Null for what happens by itself: a request still on its way, a timer. */
  actor: string | null;
  resume: () => void;
}

const { setImmediate: runAfterMicrotasks } = globalThis;

export class Scheduler {
  readonly #random: Random;
  #waiting: Waiting[] = [];
  readonly #killed = new Set<string>();
  /** Turns that a stopped actor still waits. */
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

  /** Has something happen at some time, whatever becomes of who asked for it. */
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

  /** Gives turns until nobody waits for one. Timers that start meanwhile are turns as well. */
  async run(): Promise<void> {
    const { setTimeout: realSetTimeout } = globalThis;
    const { random: realRandom } = Math;
    globalThis.setTimeout = ((callback: () => void) => this.later(callback)) as never;
    Math.random = () => this.#random.next();
    try {
      for (;;) {
        await new Promise((resolve) => runAfterMicrotasks(resolve));
        const next = this.#take();
        if (next === null) return;
        next.resume();
      }
    } finally {
      globalThis.setTimeout = realSetTimeout;
      Math.random = realRandom;
    }
  }

  #take(): Waiting | null {
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
