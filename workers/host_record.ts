/**
 * What a host worker leaves behind on its machine so that others can settle its affairs when it is killed: who it is,
 * which runs hold its slots, which activities it was working on. One file per incarnation, gone after an orderly end.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { timestampSchema, version } from '../contracts/index.js';
import { identifyProcess, isProvenDead, processIdentitySchema } from '../shared/process_identity.js';

export const hostRecordSchema = z.strictObject({
  version: version(1),
  queue: z.string(),
  /** The namespace's own id: the same server on another port is the same, another database is not. */
  namespaceId: z.string(),
  process: processIdentitySchema,
  /** Refreshed while it lives. */
  aliveAt: timestampSchema,
  leases: z.array(
    z.strictObject({ workflowId: z.string(), generation: z.int().nullable(), step: z.int().nullable() }),
  ),
  activities: z.array(z.strictObject({ workflowId: z.string(), runId: z.string(), activityId: z.string() })),
});
export type HostRecord = z.infer<typeof hostRecordSchema>;

export type ActivityKey = HostRecord['activities'][number];

/** ms between refreshes of `aliveAt`. */
const refreshInterval = 2000;

/** This host worker's own record. Writes follow one another and always write the newest state. */
export class OwnRecord {
  private readonly file: string;
  private readonly activities = new Map<string, ActivityKey>();
  private timer: NodeJS.Timeout | null = null;
  private writing: Promise<void> = Promise.resolve();
  private pending = false;

  constructor(
    folder: string,
    private readonly identity: Pick<HostRecord, 'queue' | 'namespaceId'>,
    private readonly leases: () => HostRecord['leases'],
  ) {
    this.file = path.join(folder, `${encodeURIComponent(identity.queue)}.json`);
  }

  async open(): Promise<void> {
    await mkdir(path.dirname(this.file), { recursive: true });
    await this.update();
    this.timer = setInterval(() => void this.update().catch(() => undefined), refreshInterval);
    this.timer.unref();
  }

  began(activity: ActivityKey): void {
    this.activities.set(JSON.stringify(activity), activity);
    void this.update().catch(() => undefined);
  }

  ended(activity: ActivityKey): void {
    this.activities.delete(JSON.stringify(activity));
    void this.update().catch(() => undefined);
  }

  /** Resolves when the present state, or a newer one, is on disk. */
  update(): Promise<void> {
    if (!this.pending) {
      this.pending = true;
      this.writing = this.writing.catch(() => undefined).then(() => this.write());
    }
    return this.writing;
  }

  /** After an orderly end nothing is left to settle. */
  async close(): Promise<void> {
    if (this.timer !== null) clearInterval(this.timer);
    await this.writing.catch(() => undefined);
    await rm(this.file, { force: true });
  }

  private async write(): Promise<void> {
    this.pending = false;
    const record: HostRecord = {
      version: 1,
      ...this.identity,
      process: identifyProcess()!,
      aliveAt: new Date().toISOString(),
      leases: this.leases(),
      activities: [...this.activities.values()],
    };
    const partial = `${this.file}.${process.pid}.partial`;
    await writeFile(partial, JSON.stringify(record));
    await rename(partial, this.file);
  }
}

/**
 * Takes the records of host workers that are proven dead, each to exactly one taker: it is renamed before it is read.
 * `settle` is called for each; the record goes when it returns, and stays for a later try when it throws.
 */
export async function takeDeadRecords(
  folder: string,
  mine: Pick<HostRecord, 'namespaceId'>,
  settle: (record: HostRecord) => Promise<void>,
): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((entry) => entry.endsWith('.json'))) {
    const file = path.join(folder, name);
    const record = await readRecord(file);
    if (record?.namespaceId !== mine.namespaceId) continue;
    if (!isProvenDead(record.process)) continue;
    const taken = `${file}.taken-by-${process.pid}`;
    if (
      !(await rename(file, taken).then(
        () => true,
        () => false,
      ))
    )
      continue;
    try {
      await settle(record);
      await rm(taken, { force: true });
    } catch (error) {
      await rename(taken, file);
      throw error;
    }
  }
}

async function readRecord(file: string): Promise<HostRecord | null> {
  try {
    return hostRecordSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return null; // taken by somebody else meanwhile, or of another version
  }
}
