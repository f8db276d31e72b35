/** Lets a worker poll only as many tasks as there are free slots, so that a busy host leaves work to the others. */
import type { ActivitySlotInfo, CustomSlotSupplier, SlotPermit } from '@temporalio/worker';

export class SlotGate implements CustomSlotSupplier<ActivitySlotInfo> {
  readonly type = 'custom';
  private permits = 0;
  private waiting: (() => void)[] = [];
  private closed = false;

  /** @param free slots that nobody holds */
  constructor(private readonly free: () => number) {}

  async reserveSlot(_context: unknown, abortSignal: AbortSignal): Promise<SlotPermit> {
    while (this.closed || this.permits >= this.free()) {
      if (abortSignal.aborted) throw abortSignal.reason;
      await new Promise<void>((resolve) => {
        this.waiting.push(resolve);
        abortSignal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    this.permits += 1;
    return {};
  }

  tryReserveSlot(): SlotPermit | null {
    return null;
  }

  markSlotUsed(): void {}

  releaseSlot(): void {
    this.permits -= 1;
    this.changed();
  }

  /** To be called when slots were freed. */
  changed(): void {
    for (const wake of this.waiting.splice(0)) wake();
  }

  /** Gives out no more permits. */
  close(): void {
    this.closed = true;
  }
}
