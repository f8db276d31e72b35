/** The cores and the memory that a process on this host may really use. */
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import path from 'node:path';
import { EngineError } from '../shared/errors.js';

/**
 * Returns the threads that a context, or a job on files, gets by default: `TEMPER_THREADS` where it is set, otherwise the physical cores of the process's affinity mask, and no more than its
 * cgroup's CPU quota pays for. Hyper-threads are left out: two on a core share its vector units.
 * @param root where /proc and /sys are looked for
 */
export function defaultThreads(environment: NodeJS.ProcessEnv = process.env, root = '/'): number {
  const configured = environment.TEMPER_THREADS;
  if (configured !== undefined && configured !== '') {
    if (!/^[1-9][0-9]{0,3}$/.test(configured))
      throw new EngineError(`TEMPER_THREADS is '${configured}', not a whole number from 1 to 9999`);
    return Number(configured);
  }
  const cores = physicalCores(root) ?? availableParallelism();
  return Math.max(1, Math.min(cores, Math.floor(cpuQuota(root) ?? cores)));
}

function read(root: string, file: string): string | null {
  try {
    return readFileSync(path.join(root, file), 'utf8').trim();
  } catch {
    return null; // not Linux, or not mounted here
  }
}

/** `0-3,8` → 0, 1, 2, 3, 8: the kernel's list format. */
export function parseCpuList(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [first, last] = part.split('-').map(Number);
    if (first === undefined || Number.isNaN(first)) return [];
    return Array.from({ length: (last ?? first) - first + 1 }, (_, i) => first + i);
  });
}

function physicalCores(root: string): number | null {
  const allowed = /^Cpus_allowed_list:\s*(\S+)/m.exec(read(root, 'proc/self/status') ?? '')?.[1];
  if (allowed === undefined) return null;
  const cores = parseCpuList(allowed).map((cpu) => {
    const topology = `sys/devices/system/cpu/cpu${cpu}/topology`;
    return (
      read(root, `${topology}/core_cpus_list`) ??
      read(root, `${topology}/thread_siblings_list`) ??
      `cpu ${cpu}`
    );
  });
  return Math.max(1, new Set(cores).size);
}

/** CPUs that the cgroup's quota amounts to: the least along the path to the root, v2 and v1. */
function cpuQuota(root: string): number | null {
  const limits: number[] = [];
  for (const line of (read(root, 'proc/self/cgroup') ?? '').split('\n')) {
    const [, controllers, group] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || group === undefined) continue;
    const v2 = controllers === '';
    if (!v2 && !controllers.split(',').includes('cpu')) continue;
    const mount = v2 ? 'sys/fs/cgroup' : cpuMount(root);
    for (let at = group; ; at = path.posix.dirname(at)) {
      const [quota, period] = v2
        ? (read(root, path.join(mount, at, 'cpu.max')) ?? '').split(' ')
        : [
            read(root, path.join(mount, at, 'cpu.cfs_quota_us')),
            read(root, path.join(mount, at, 'cpu.cfs_period_us')),
          ];
      if (Number(quota) > 0 && Number(period) > 0) limits.push(Number(quota) / Number(period));
      if (at === '/' || at === '.') break;
    }
  }
  return limits.length > 0 ? Math.min(...limits) : null;
}

/** cgroup v1 mounts the cpu controller under a name that lists those it shares the mount with. */
function cpuMount(root: string): string {
  const base = 'sys/fs/cgroup';
  try {
    const name = readdirSync(path.join(root, base)).find((entry) => entry.split(',').includes('cpu'));
    return path.join(base, name ?? 'cpu');
  } catch {
    return path.join(base, 'cpu');
  }
}

/** Returns the bytes that a process here may use: the machine's memory, or its cgroup's limit where that is lower. */
export function memoryLimit(): number {
  const limits = ['sys/fs/cgroup/memory.max', 'sys/fs/cgroup/memory/memory.limit_in_bytes'].map((file) =>
    Number(read('/', file) ?? Number.NaN),
  );
  // No such cgroup, or `max`, is not a number.
  return Math.min(totalmem(), ...limits.filter((limit) => limit > 0));
}
