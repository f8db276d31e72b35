/**
 * Says who a process is, beyond its number, and judges whether it still runs. A process is gone only by proof: the
 * number is free, or belongs to a process that started at another time, and both are read where the number counts.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { z } from 'zod';

export const processIdentitySchema = z.strictObject({
  /** For people; equal names prove nothing. */
  host: z.string(),
  /** Changes with every boot of the machine; null when the system does not tell. */
  boot: z.string().nullable(),
  /** The namespace in which `pid` counts (a container has its own); null when it cannot be determined. */
  pidNamespace: z.string().nullable(),
  /** User id. */
  user: z.int(),
  /** /etc/machine-id; null when there is none. */
  machine: z.string().nullable(),
  pid: z.int().min(1),
  /** Opaque, and constant over the life of the process. */
  started: z.string(),
});
export type ProcessIdentity = z.infer<typeof processIdentitySchema>;

/** `unknown` where nothing is proven from here: other machine, boot, PID namespace or user, or a hidden `/proc`. */
export type ProcessState = 'alive' | 'gone' | 'unknown';

/** Returns the identity of this process. */
export function ownIdentity(): ProcessIdentity {
  own ??= { host: hostname(), ...readPidScope(), pid: process.pid, started: ownStartTime() };
  return own;
}

/** Returns the identity of a running process of this PID namespace and user, or null when none has that number. */
export function identifyProcess(pid: number): ProcessIdentity | null {
  const { started } = readProcess(pid);
  return started === null ? null : { ...ownIdentity(), pid, started };
}

/** Judges whether a process still runs. */
export function processState(identity: ProcessIdentity): ProcessState {
  const here = ownIdentity();
  if (here.boot === null || here.pidNamespace === null) return 'unknown';
  const comparable = ['boot', 'pidNamespace', 'user', 'machine'] as const;
  if (comparable.some((key) => identity[key] !== here[key])) return 'unknown';
  return judge(identity.pid, identity.started);
}

/** Returns this process's identity as a short word for file names and labels: `<digest of its scope>-<pid>-<start>`. */
export function ownProcessTag(): string {
  const identity = ownIdentity();
  return `${scopeDigest(identity)}-${identity.pid}-${word(identity.started)}`;
}

/** Judges the process whose `ownProcessTag()` the tag is; `unknown` for a text that is not a tag. */
export function taggedProcessState(tag: string): ProcessState {
  const [, scope, pid, started] = /^([0-9a-f]{16})-([1-9]\d*)-(\w+)$/.exec(tag) ?? [];
  const here = ownIdentity();
  if (here.boot === null || here.pidNamespace === null || scope !== scopeDigest(here)) return 'unknown';
  return judge(Number(pid), started!);
}

function judge(pid: number, started: string): ProcessState {
  const observed = readProcess(pid);
  if (observed.hidden) return 'unknown';
  return observed.started !== null && word(observed.started) === word(started) ? 'alive' : 'gone';
}

type PidScope = Pick<ProcessIdentity, 'boot' | 'pidNamespace' | 'user' | 'machine'>;

let own: ProcessIdentity | null = null;

function readPidScope(): PidScope {
  return {
    boot: readBootId(),
    pidNamespace: readPidNamespace(),
    user: process.getuid?.() ?? 0,
    machine: readLine('/etc/machine-id'),
  };
}

function scopeDigest({ boot, pidNamespace, user, machine }: PidScope): string {
  const scope = JSON.stringify([boot, pidNamespace, user, machine]);
  return createHash('sha256').update(scope).digest('hex').slice(0, 16);
}

/** Joins a start time to one word: macOS gives it in several. */
const word = (text: string): string => text.replace(/\W/g, '');

function readBootId(): string | null {
  if (process.platform === 'linux') return readLine('/proc/sys/kernel/random/boot_id');
  return run('sysctl', ['-n', 'kern.boottime']);
}

/**
 * Reads the PID namespace; null also when /proc is another namespace's, as after `unshare --pid` alone: its numbers are
 * not ours.
 */
function readPidNamespace(): string | null {
  if (process.platform !== 'linux') return 'none';
  try {
    return readlinkSync('/proc/self') === String(process.pid) ? readlinkSync('/proc/self/ns/pid') : null;
  } catch {
    return null;
  }
}

function ownStartTime(): string {
  const started = process.platform === 'linux' ? parseStat(readLine('/proc/self/stat') ?? '') : null;
  return started ?? readProcess(process.pid).started ?? 'unknown';
}

/** Reads a process; `started` is null for a number that is free or belongs to a zombie. */
function readProcess(pid: number): { started: string | null; hidden: boolean } {
  if (process.platform !== 'linux') {
    return { started: run('ps', ['-o', 'lstart=', '-p', String(pid)]), hidden: false };
  }
  try {
    return { started: parseStat(readFileSync(`/proc/${pid}/stat`, 'utf8')), hidden: false };
  } catch {
    // With hidepid, /proc does not show a process that exists; kill(2) does.
    return { started: null, hidden: !isFree(pid) };
  }
}

function isFree(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/**
 * Returns field 22 of /proc/<pid>/stat, ticks since boot; null for a zombie. The command, in parentheses, may hold
 * anything (proc(5)). A killed process shows as a zombie while its other threads are still ending, and holds its files
 * until then.
 */
function parseStat(stat: string): string | null {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, threads, started] = [fields[0], fields[17], fields[19]];
  const isZombie = (state === 'Z' || state === 'X') && Number(threads) <= 1;
  return isZombie ? null : (started ?? null);
}

function readLine(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim() || null;
  } catch {
    return null;
  }
}

function run(program: string, parameters: string[]): string | null {
  try {
    return execFileSync(program, parameters, { encoding: 'utf8' }).trim() || null;
  } catch {
    return null;
  }
}
