/** Lets a worker poll only as many tasks as there are free slots, so that a busy host leaves work to the others. */
import type { ActivitySlotInfo, CustomSlotSupplier, SlotPermit } from '@temporalio/worker';

export class SlotGate implements CustomSlotSupplier<ActivitySlotInfo> {
  readonly type = 'custom';
  readonly #free: () => number;
  #permits = 0;
  #waiting: (() => void)[] = [];
  #closed = false;

  /** @param free slots that are on offer */
  constructor(free: () => number) {
    this.#free = free;
  }

  async reserveSlot(_context: unknown, abortSignal: AbortSignal): Promise<SlotPermit> {
    while (this.#closed || this.#permits >= this.#free()) {
      if (abortSignal.aborted) throw abortSignal.reason;
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        abortSignal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    this.#permits += 1;
    return {};
  }

  tryReserveSlot(): SlotPermit | null {
    return null;
  }

  markSlotUsed(): void {}

  releaseSlot(): void {
    this.#permits -= 1;
    this.changed();
  }

  /** Lets waiting polls continue after slots were freed. */
  changed(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** Gives out no more permits. */
  close(): void {
    this.#closed = true;
  }
}
