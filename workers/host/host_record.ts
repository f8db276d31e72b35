/**
 * A file in which a host worker notes who it is, which runs hold its slots and which activities it works on, so that
 * others on its machine can report them when it is killed. One per incarnation, removed at an orderly end.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { uptime } from 'node:os';
import path from 'node:path';
import { z } from 'zod';
import { version } from '../../contracts/index.js';
import { writeUnsynced } from '../../shared/files.js';
import { unlessLocked } from '../../shared/folder_lock.js';
import { ownIdentity, processIdentitySchema, processState } from '../../shared/process_identity.js';

export const hostRecordSchema = z.strictObject({
  version: version(1),
  queue: z.string(),
  /** The namespace's own id: the same server on another port is the same, another database is not. */
  namespaceId: z.string(),
  process: processIdentitySchema,
  /** The machine's uptime in s, refreshed while it runs: a clock that is set does not change it. */
  aliveAt: z.number(),
  leases: z.array(
    z.strictObject({ workflowId: z.string(), generation: z.int().nullable(), step: z.int().nullable() }),
  ),
  activities: z.array(z.strictObject({ workflowId: z.string(), runId: z.string(), activityId: z.string() })),
});
export type HostRecord = z.infer<typeof hostRecordSchema>;

export type ActivityKey = HostRecord['activities'][number];

/** ms between refreshes of `aliveAt`. */
const refreshInterval = 2000;

/** Writes the record of this host worker. Writes follow one another and always write the newest state. */
export class HostRecordWriter {
  readonly #file: string;
  readonly #identity: Pick<HostRecord, 'queue' | 'namespaceId'>;
  readonly #leases: () => HostRecord['leases'];
  readonly #activities = new Map<string, ActivityKey>();
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> = Promise.resolve();
  #isPending = false;

  constructor(
    folder: string,
    identity: Pick<HostRecord, 'queue' | 'namespaceId'>,
    leases: () => HostRecord['leases'],
  ) {
    this.#file = path.join(folder, `${encodeURIComponent(identity.queue)}.json`);
    this.#identity = identity;
    this.#leases = leases;
  }

  async open(): Promise<void> {
    await mkdir(path.dirname(this.#file), { recursive: true });
    await this.update();
    this.#timer = setInterval(() => void this.update().catch(() => undefined), refreshInterval);
    this.#timer.unref();
  }

  addActivity(activity: ActivityKey): void {
    this.#activities.set(JSON.stringify(activity), activity);
    void this.update().catch(() => undefined);
  }

  removeActivity(activity: ActivityKey): void {
    this.#activities.delete(JSON.stringify(activity));
    void this.update().catch(() => undefined);
  }

  /** Resolves when the present state, or a newer one, is on disk. */
  update(): Promise<void> {
    if (!this.#isPending) {
      this.#isPending = true;
      this.#writing = this.#writing.catch(() => undefined).then(() => this.#write());
    }
    return this.#writing;
  }

  /** Removes the record: after an orderly end nothing is left to report. */
  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#writing.catch(() => undefined);
    await rm(this.#file, { force: true });
  }

  async #write(): Promise<void> {
    this.#isPending = false;
    const record: HostRecord = {
      version: 1,
      ...this.#identity,
      process: ownIdentity(),
      aliveAt: uptime(),
      leases: this.#leases(),
      activities: [...this.#activities.values()],
    };
    await writeUnsynced(this.#file, JSON.stringify(record));
  }
}

/** s after which a killed host worker's record is of no use to a namespace that no worker here serves any more. */
const keptTime = 7 * 24 * 3600;

/** Returns for how many seconds a killed host worker has been silent. Only a process of this boot is proven gone. */
export function secondsSilent({ aliveAt }: HostRecord): number {
  return Math.max(0, uptime() - aliveAt);
}

/**
 * Calls `report` for the record of each host worker of the namespace that is proven gone, in one process at a time. The
 * record is removed when `report` returns, and stays for a later try when it throws, or when this process is killed.
 */
export async function reapRecords(
  folder: string,
  namespaceId: string,
  report: (record: HostRecord) => Promise<void>,
): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((entry) => entry.endsWith('.json'))) {
    const file = path.join(folder, name);
    const readReapable = async () => {
      const record = await readRecord(file);
      return record !== null && processState(record.process) === 'gone' ? record : null;
    };
    const current = await readReapable();
    if (current === null) continue;
    if (current.namespaceId !== namespaceId) {
      if (secondsSilent(current) > keptTime) await rm(file, { force: true });
      continue;
    }
    await unlessLocked(`${file}.lock`, async () => {
      // Another process may have reported it since.
      const record = await readReapable();
      if (record === null) return;
      await report(record);
      await rm(file, { force: true });
    });
  }
}

/** Reads a record; null when it was removed meanwhile, or is of another version. */
async function readRecord(file: string): Promise<HostRecord | null> {
  try {
    return hostRecordSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return null;
  }
}
