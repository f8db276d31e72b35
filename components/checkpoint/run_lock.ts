/**
 * `<run>/lock`: which process trains a run whose folder is local. It lets a successor prove that its predecessor is dead
 * instead of waiting for a heartbeat timeout. It is advice; what keeps two processes from committing is the generation.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readFile, readlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { z } from 'zod';
import { CheckpointError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/index.js';

const processRecordSchema = z.strictObject({
  version: z.literal(1),
  id: z.uuid(),
  /** `<pool>.<host>.<incarnation>`. */
  holder: z.string(),
  host: z.string(),
  /** Of this start of the kernel; null where the system does not tell. */
  bootId: z.string().nullable(),
  /** The namespace in which `pid` counts (a container has its own). */
  pidNamespace: z.string().nullable(),
  pid: z.int(),
  /** In clock ticks since boot: tells a process from a later one with the same number. */
  startTime: z.string().nullable(),
});
export type ProcessRecord = z.infer<typeof processRecordSchema>;

export interface RunLock {
  readonly record: ProcessRecord;
  /** Removes the lock if it is still ours. */
  release(): Promise<void>;
}

const key = 'lock';

/**
 * Takes the lock of a run, from a dead process if need be. Throws CheckpointError naming the holder while that lives or
 * cannot be judged from here. On an object store there is no lock: the caller gets one that excludes nobody.
 */
export async function acquireRunLock(run: Storage, holder: string): Promise<RunLock> {
  const record = await thisProcess(holder);
  if (run.folder === null) return { record, release: async () => undefined };
  const bytes = Buffer.from(`${JSON.stringify(record)}\n`);
  while (!(await run.createExclusive(key, bytes))) {
    const found = await readRunLock(run);
    if (found === null) continue;
    await requireDead(run, found);
    // Only one of those who found this record dead may replace it.
    const guard = `${key}.${createHash('sha256').update(found.id).digest('hex').slice(0, 16)}`;
    if (!(await run.createExclusive(guard, bytes))) {
      const rival = await readRecord(run, guard);
      if (rival !== null) await requireDead(run, rival);
      await run.delete(guard);
      continue;
    }
    const current = await readRunLock(run);
    if (current?.id === found.id) await run.write(key, bytes);
    await run.delete(guard);
    if (current?.id === found.id) break;
  }
  return { record, release: () => release(run, record) };
}

/** Who holds a run's lock; null when nobody does. */
export async function readRunLock(run: Storage): Promise<ProcessRecord | null> {
  return readRecord(run, key);
}

async function readRecord(run: Storage, name: string): Promise<ProcessRecord | null> {
  if ((await run.size(name)) === null) return null;
  const text = await run.read(name).then(
    (bytes) => bytes.toString('utf8'),
    // Released between the two looks.
    async (error: unknown) => {
      if ((await run.size(name)) === null) return null;
      throw error;
    },
  );
  if (text === null) return null;
  try {
    return processRecordSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new CheckpointError(
      `${run.uri}/${name}: not a lock that this version of Temper understands; delete it if nothing trains this run`,
      { cause },
    );
  }
}

async function release(run: Storage, record: ProcessRecord): Promise<void> {
  const found = await readRunLock(run);
  if (found?.id === record.id) await run.delete(key);
}

async function requireDead(run: Storage, record: ProcessRecord): Promise<void> {
  const state = await judgeProcess(record);
  if (state === 'dead') return;
  const verb = state === 'alive' ? 'is running' : 'may be running: whether it lives cannot be seen from here';
  throw new CheckpointError(
    `${run.uri} is being trained by process ${record.pid} on ${record.host} (${record.holder}), which ${verb}`,
  );
}

/** Whether a recorded process lives, dead only where that is proven: same host and boot, and no such process any more. */
export async function judgeProcess(record: ProcessRecord): Promise<'alive' | 'dead' | 'unknown'> {
  const here = await thisProcess(record.holder);
  if (record.host !== here.host || record.bootId === null || here.bootId === null) return 'unknown';
  if (record.bootId !== here.bootId) return 'dead';
  if (record.pidNamespace !== here.pidNamespace) return 'unknown';
  const startTime = await startTimeOf(record.pid);
  return startTime !== null && startTime === record.startTime ? 'alive' : 'dead';
}

async function thisProcess(holder: string): Promise<ProcessRecord> {
  return {
    version: 1,
    id: randomUUID(),
    holder,
    host: hostname(),
    bootId: await firstLine('/proc/sys/kernel/random/boot_id'),
    pidNamespace: await readlink('/proc/self/ns/pid').catch(() => null),
    pid: process.pid,
    startTime: await startTimeOf(process.pid),
  };
}

/** Field 22 of /proc/<pid>/stat, counted after the command in parentheses (proc(5)); null for a zombie or nobody. */
async function startTimeOf(pid: number): Promise<string | null> {
  const stat = await firstLine(`/proc/${pid}/stat`);
  if (stat === null) return null;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null);
}

async function firstLine(file: string): Promise<string | null> {
  return readFile(file, 'utf8').then(
    (text) => text.trim(),
    () => null,
  );
}
