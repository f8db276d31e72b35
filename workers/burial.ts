/**
 * Settles the affairs of host workers of this machine that were killed: nobody has to wait for a heartbeat timeout.
 * Every worker does this when it starts and every few seconds.
 */
import {
  ActivityNotFoundError,
  ApplicationFailure,
  type Client,
  WorkflowNotFoundError,
} from '@temporalio/client';
import { failureTypes, type HostLost, type LossDetails, signalNames } from '../contracts/index.js';
import { type HostRecord, takeDeadRecords } from './host_record.js';

/** ms */
const interval = 3000;

export class Burial {
  private timer: NodeJS.Timeout | null = null;

  constructor(
    private readonly folder: string,
    private readonly client: Client,
    private readonly mine: Pick<HostRecord, 'namespaceId'>,
  ) {}

  async open(): Promise<void> {
    await this.round();
    const again = async () => {
      await this.round();
      if (this.timer !== null) this.timer = setTimeout(again, interval).unref();
    };
    this.timer = setTimeout(again, interval).unref();
  }

  close(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  /** A server that is away makes a round fail; the records stay for the next one. */
  private async round(): Promise<void> {
    await takeDeadRecords(this.folder, this.mine, (record) => this.settle(record)).catch(() => undefined);
  }

  private async settle(record: HostRecord): Promise<void> {
    const detail = `host worker ${record.queue} (process ${record.process.pid}) was killed`;
    // The signals first: they know the step.
    // Both times are of this machine's clock: the record is of a process on it.
    const silentFor = Math.max(0, (Date.now() - Date.parse(record.aliveAt)) / 1000);
    for (const { workflowId, step } of record.leases) {
      const lost: HostLost = { version: 1, queue: record.queue, silentFor, step, detail };
      await this.client.workflow
        .getHandle(workflowId)
        .signal(signalNames.hostLost, lost)
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
      await this.client.activity.fail(activity, failure).catch((error: unknown) => {
        if (!(error instanceof ActivityNotFoundError)) throw error;
      });
    }
  }
}
