import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseCpuList } from '../../../engine/host.js';
import { defaultThreads } from '../../../engine/index.js';
import { EngineError } from '../../../shared/errors.js';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

/** Writes a /proc and /sys with these files, and returns their root. */
function writeSystem(files: Record<string, string>): string {
  const root = mkdtempSync(path.join(tmpdir(), 'temper-threads-'));
  roots.push(root);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    writeFileSync(path.join(root, file), `${text}\n`);
  }
  return root;
}

/** Four cores of two hyper-threads: 0 with 4, 1 with 5 … */
const topology = Object.fromEntries(
  Array.from({ length: 8 }, (_, cpu) => [
    `sys/devices/system/cpu/cpu${cpu}/topology/core_cpus_list`,
    `${cpu % 4},${(cpu % 4) + 4}`,
  ]),
);
const allowed = (list: string) => ({ 'proc/self/status': `Name:\tnode\nCpus_allowed_list:\t${list}` });

test('hyper-threads of one core count once in the default threads', () => {
  expect(defaultThreads({}, writeSystem({ ...topology, ...allowed('0-7') }))).toBe(4);
});

test('the affinity mask limits the default threads', () => {
  expect(defaultThreads({}, writeSystem({ ...topology, ...allowed('1,5-6') }))).toBe(2);
});

test('the smallest cgroup v2 quota on the path limits the default threads', () => {
  const root = writeSystem({
    ...topology,
    ...allowed('0-7'),
    'proc/self/cgroup': '0::/pod/container',
    'sys/fs/cgroup/pod/cpu.max': '250000 100000',
    'sys/fs/cgroup/pod/container/cpu.max': 'max 100000',
  });
  expect(defaultThreads({}, root)).toBe(2);
});

test('a quota below one CPU leaves one thread', () => {
  const root = writeSystem({
    ...topology,
    ...allowed('0-7'),
    'proc/self/cgroup': '0::/',
    'sys/fs/cgroup/cpu.max': '50000 100000',
  });
  expect(defaultThreads({}, root)).toBe(1);
});

test('a cgroup v1 quota limits the default threads', () => {
  const root = writeSystem({
    ...topology,
    ...allowed('0-7'),
    'proc/self/cgroup': '5:memory:/job\n4:cpu,cpuacct:/job',
    'sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us': '300000',
    'sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us': '100000',
  });
  expect(defaultThreads({}, root)).toBe(3);
});

test('TEMPER_THREADS sets the default threads', () => {
  expect(defaultThreads({ TEMPER_THREADS: '7' })).toBe(7);
  for (const value of ['0', '-1', 'many', '1.5']) {
    expect(() => defaultThreads({ TEMPER_THREADS: value })).toThrow(EngineError);
  }
});

test("the kernel's lists of CPUs are parsed", () => {
  expect(parseCpuList('0-2,5,8-9')).toEqual([0, 1, 2, 5, 8, 9]);
});
