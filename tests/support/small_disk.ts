import { execFileSync } from 'node:child_process';

/** Mounts a file system of 1 MiB. Returns false without the right to mount: such a machine cannot test a full disk. */
export function mountTmpfs(folder: string, ...options: string[]): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', ['size=1m', ...options].join(), 'tmpfs', folder], {
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false;
  }
}
