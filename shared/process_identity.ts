/**
 * Who a process is, beyond its number: proves that the holder of a lock file or a lease is dead although its number may
 * have been given to somebody else since. A process is the same one when boot, number and start time agree.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { z } from 'zod';

export const processIdentitySchema = z.strictObject({
  host: z.string(),
  /** Changes with every boot of the machine. */
  boot: z.string(),
  pid: z.int().min(1),
  /** Opaque, and constant over the life of the process. */
  started: z.string(),
});
export type ProcessIdentity = z.infer<typeof processIdentitySchema>;

/** The identity of a living process of this machine, or null when no process has that number. */
export function identifyProcess(pid: number = process.pid): ProcessIdentity | null {
  const started = startTime(pid);
  return started === null ? null : { host: hostname(), boot: bootId(), pid, started };
}

/**
 * Whether the process is certainly gone. False also when nobody here can tell, because it ran on another host.
 */
export function isProvenDead(identity: ProcessIdentity): boolean {
  if (identity.host !== hostname()) return false;
  if (identity.boot !== bootId()) return true;
  return startTime(identity.pid) !== identity.started;
}

/** Field 22 of /proc/<pid>/stat, ticks since boot; elsewhere what ps says. A zombie counts as gone. */
function startTime(pid: number): string | null {
  if (process.platform === 'linux') {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      // The command's name, in parentheses, may hold anything: fields are counted after its end.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' || fields[0] === 'X' ? null : fields[19]!;
    } catch {
      return null;
    }
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || null;
  } catch {
    return null;
  }
}

let boot: string | null = null;

function bootId(): string {
  if (boot !== null) return boot;
  if (process.platform === 'linux') boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  else boot = execFileSync('sysctl', ['-n', 'kern.boottime'], { encoding: 'utf8' }).trim();
  return boot;
}
