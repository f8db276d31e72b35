/**
 * Frees the slots of runs that have forgotten them: the workflow ended without a release, because it was terminated, or it
 * holds another generation. A slot whose run is busy elsewhere, with an evaluation, say, is left alone however long that
 * takes.
 */
import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import { queryNames, type RunStatus } from '../../contracts/index.js';
import type { Lease } from './lease.js';

/** ms between rounds. */
const defaultInterval = 60_000;

export class LeaseAudit {
  readonly #client: Client;
  readonly #leases: () => Lease[];
  readonly #timer: NodeJS.Timeout;

  /** @param leases those that are held now */
  constructor(client: Client, leases: () => Lease[], interval = defaultInterval) {
    this.#client = client;
    this.#leases = leases;
    this.#timer = setInterval(() => void this.round(), interval).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Looks at every lease that no activity waits for. A server that does not answer frees nothing. */
  async round(): Promise<void> {
    for (const lease of this.#leases().filter(({ began, awaited }) => began && !awaited)) {
      const isHeld = await this.#isHeld(lease).catch(() => true);
      if (!isHeld && !lease.awaited) await lease.end();
    }
  }

  async #isHeld({ run, grant }: Lease): Promise<boolean> {
    const handle = this.#client.workflow.getHandle(run.id);
    try {
      if ((await handle.describe()).status.name !== 'RUNNING') return false;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
    const { generation } = await handle.query<RunStatus>(queryNames.progress);
    return generation === grant?.generation;
  }
}
