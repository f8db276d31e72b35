/** A copy of what an entry in the program's own tables touches, into which the code of a page is written. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type Ran, root, runProcess } from './pages.js';

/** The code blocks of a page by language, one of each. */
export function entriesOfPage(page: string): { ts: string; cpp: string } {
  const text = readFileSync(path.join(root, 'docs/adding', `${page}.md`), 'utf8');
  const entry = (language: string) => {
    const [block, ...others] = [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))];
    if (block === undefined || others.length > 0) throw new Error(`${page}: not one block of ${language}`);
    return block[1]!;
  };
  return { ts: entry('ts'), cpp: entry('cpp') };
}

export class FollowedTree {
  constructor(readonly folder: string) {
    mkdirSync(folder, { recursive: true });
    for (const part of [
      'dist/graph',
      'dist/shared',
      'dist/contracts',
      'native/ops',
      'native/cpu',
      'native/engine',
    ])
      cpSync(path.join(root, part), path.join(folder, part), { recursive: true });
    cpSync(path.join(root, 'package.json'), path.join(folder, 'package.json'));
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
  }

  /** Writes code into a file, next to the only place that has this text. */
  insert(file: string, place: string, code: string, where: 'before' | 'after' = 'after'): void {
    const full = path.join(this.folder, file);
    const parts = readFileSync(full, 'utf8').split(place);
    if (parts.length !== 2) throw new Error(`${file} has '${place}' ${parts.length - 1} times`);
    writeFileSync(full, parts.join(where === 'after' ? `${place}${code}` : `${code}${place}`));
  }

  /** Runs activation_probe.ts with the graph of this tree. */
  interpretActivation(fn: string, x: readonly string[]): Promise<Ran> {
    const probe = path.join(import.meta.dirname, 'activation_probe.js');
    return runProcess(this.folder, process.execPath, [probe, path.join(this.folder, 'dist'), fn, ...x]);
  }

  /** Builds activation_probe.cpp with the kernels of `act` of this tree, and runs it. */
  async runActivationKernel(fn: string, x: readonly string[]): Promise<Ran> {
    const probe = path.join(root, 'tests/unit/adding/support/activation_probe.cpp');
    const sources = [probe, 'native/cpu/act.cpp', 'native/engine/thread_pool.cpp'];
    const flags = ['-std=c++20', '-DTEMPER_ISA=portable', '-Inative', '-pthread', '-o', 'probe'];
    const built = await runProcess(this.folder, process.env.CXX ?? 'c++', [...flags, ...sources]);
    return built.code === 0 ? runProcess(this.folder, path.join(this.folder, 'probe'), [fn, ...x]) : built;
  }
}
