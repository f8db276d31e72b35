import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Mounts a file system of 1 MiB. */
export function mountTmpfs(folder: string, ...options: string[]): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', ['size=1m', ...options].join(), 'tmpfs', folder]);
}

/** A test that mounts a file system; skipped where this process may not, as that machine cannot show a full disk. */
export const mountingTest = mayMount() ? test : test.skip;

function mayMount(): boolean {
  const folder = mkdtempSync(path.join(tmpdir(), 'temper-mount-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', folder]).status === 0;
  if (mounted) execFileSync('umount', [folder]);
  rmdirSync(folder);
  return mounted;
}
