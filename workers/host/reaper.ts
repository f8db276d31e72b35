/**
 * Reports host workers of this machine that were killed to the workflows that use them, so that nobody has to wait for a
 * heartbeat timeout. Every worker does this when it starts and every few seconds.
 */
import {
  ActivityNotFoundError,
  ApplicationFailure,
  type Client,
  WorkflowNotFoundError,
} from '@temporalio/client';
import { failureTypes, type HostLost, type LossDetails, signalNames } from '../../contracts/index.js';
import { type HostRecord, reapRecords, secondsSilent } from './host_record.js';

/** ms */
const interval = 3000;

export class HostReaper {
  readonly #folder: string;
  readonly #client: Client;
  readonly #namespaceId: string;
  #timer: NodeJS.Timeout | null = null;

  /** @param folder of the host records */
  constructor(folder: string, client: Client, namespaceId: string) {
    this.#folder = folder;
    this.#client = client;
    this.#namespaceId = namespaceId;
  }

  async open(): Promise<void> {
    await this.#reap();
    const repeat = async () => {
      await this.#reap();
      if (this.#timer !== null) this.#timer = setTimeout(repeat, interval).unref();
    };
    this.#timer = setTimeout(repeat, interval).unref();
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** Runs one round. An outage of the server makes it fail; the records stay for the next one. */
  async #reap(): Promise<void> {
    await reapRecords(this.#folder, this.#namespaceId, (record) => this.#report(record)).catch(
      () => undefined,
    );
  }

  async #report(record: HostRecord): Promise<void> {
    const detail = `host worker ${record.queue} (process ${record.process.pid}) was killed`;
    // The signals first: they state the step.
    const silentFor = secondsSilent(record);
    for (const { workflowId, step } of record.leases) {
      const loss: HostLost = { version: 1, queue: record.queue, silentFor, step, detail };
      await this.#client.workflow
        .getHandle(workflowId)
        .signal(signalNames.hostLost, loss)
        .catch((error: unknown) => {
          if (!(error instanceof WorkflowNotFoundError)) throw error;
        });
    }
    for (const activity of record.activities) {
      const details: LossDetails = { version: 1, silentFor, ended: null, progress: null };
      const failure = ApplicationFailure.create({
        message: detail,
        type: failureTypes.hostLost,
        details: [details],
      });
      await this.#client.activity.fail(activity, failure).catch((error: unknown) => {
        if (!(error instanceof ActivityNotFoundError)) throw error;
      });
    }
  }
}
