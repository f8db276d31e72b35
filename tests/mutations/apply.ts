/**
 * Applies a mutation, a small patch that takes a repair out again, to a copy of the built code. A mutation is a `.patch`
 * file: what it breaks, in words; `--- <file of dist/>`; then hunks that begin with `@@`, whose lines begin with a space
 * (kept), `-` (removed) or `+` (added). Each hunk must match exactly once.
 */
import { cpSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../../..');

/** Names of all mutations. */
export function listMutations(): string[] {
  return readdirSync(path.join(root, 'tests/mutations'))
    .filter((name) => name.endsWith('.patch'))
    .sort();
}

/** Copies dist/ below `folder`, where it finds packages and the engine as in the repository, and returns the copy. */
export function copyBuild(folder: string): string {
  for (const name of ['node_modules', 'build', 'package.json']) {
    symlinkSync(path.join(root, name), path.join(folder, name));
  }
  const copy = path.join(folder, 'dist');
  cpSync(path.join(root, 'dist'), copy, {
    recursive: true,
    filter: (file) => !/\/(bench|cli|infra|workflow-bundle\.js)$/.test(file),
  });
  return copy;
}

/** Throws when a hunk does not match, or matches in several places. */
export function applyMutation(dist: string, name: string): void {
  const patch = readFileSync(path.join(root, 'tests/mutations', name), 'utf8');
  let file = '';
  for (const section of patch.split(/^(?=--- |@@)/m).slice(1)) {
    const [head, ...lines] = section.replace(/\n$/, '').split('\n');
    if (head!.startsWith('--- ')) file = path.join(dist, head!.slice('--- '.length).trim());
    else applyHunk(file, lines, name);
  }
}

function applyHunk(file: string, lines: readonly string[], name: string): void {
  const select = (signs: string) =>
    lines
      .filter((line) => signs.includes(line[0]!))
      .map((line) => `${line.slice(1)}\n`)
      .join('');
  const text = readFileSync(file, 'utf8');
  const parts = text.split(select(' -'));
  if (parts.length !== 2) {
    throw new Error(
      `tests/mutations/${name}: a hunk matches ${parts.length - 1} times in ${file}; bring it up to date`,
    );
  }
  writeFileSync(file, parts.join(select(' +')));
}
