/** The pages of docs/adding, followed to the letter: their code is written into a folder, as an operator would. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { writeTinyModel } from '../../../support/tiny_model.js';

export const root = path.resolve(import.meta.dirname, '../../../../..');

/** The files of a page by name: code blocks that begin with `// <name>`. */
export function filesOfPage(page: string): Map<string, string> {
  const text = readFileSync(path.join(root, 'docs/adding', `${page}.md`), 'utf8');
  const blocks = [...text.matchAll(/^```js\n\/\/ (\S+)\n(.*?)^```$/gms)];
  return new Map(blocks.map(([, name, code]) => [name!, code!]));
}

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** The folder of an operator who followed a page: its files, the package, and a tiny model in `model/`. */
export class Followed {
  private constructor(readonly folder: string) {}

  static async page(page: string, parent: string): Promise<Followed> {
    const folder = path.join(parent, page);
    mkdirSync(path.join(folder, 'node_modules/@temper-train'), { recursive: true });
    symlinkSync(root, path.join(folder, 'node_modules/@temper-train/temper'));
    symlinkSync(path.join(root, 'node_modules/zod'), path.join(folder, 'node_modules/zod'));
    for (const [name, code] of filesOfPage(page)) writeFileSync(path.join(folder, name), code);
    await writeTinyModel(path.join(folder, 'model'));
    return new Followed(folder);
  }

  write(name: string, text: string): void {
    writeFileSync(path.join(this.folder, name), text);
  }

  /** Writes `recipe.yaml`: two steps on random tokens, with `more` of one's own. */
  recipe(more: Record<string, unknown>): void {
    const { training, ...rest } = more as { training?: Record<string, unknown> };
    const recipe = {
      name: 'run',
      model: { name: './model' },
      data: {
        train: { dataset_type: 'mock', documents: 8, lengths: { min: 8, max: 16 } },
        packed_sequence_size: 16,
        batch_size: { global: 1, micro: 1 },
      },
      training: { precision: 'fp32', max_steps: 2, ...training },
      ...rest,
    };
    this.write('recipe.yaml', JSON.stringify(recipe));
  }

  /** Runs `temper` in the folder. */
  temper(...parameters: string[]): Promise<Ran> {
    return this.#node(path.join(root, 'dist/cli/main.js'), parameters);
  }

  /** Trains `recipe.yaml` to its end in a process of its own, or until that is killed after a step. */
  train(killedAt: number | null = null): Promise<Ran> {
    const parameters = killedAt === null ? [] : [String(killedAt)];
    return this.#node(path.join(import.meta.dirname, 'train.js'), parameters);
  }

  #node(file: string, parameters: readonly string[]): Promise<Ran> {
    return runProcess(this.folder, process.execPath, [file, ...parameters]);
  }
}

/** Runs a program in a folder to its end. */
export function runProcess(folder: string, program: string, parameters: readonly string[]): Promise<Ran> {
  const { TEMPER_CONFIG: _, NODE_OPTIONS: __, ...env } = process.env;
  const options = {
    cwd: folder,
    env: { ...env, TEMPER_CACHE: path.join(folder, 'cache'), TEMPER_THREADS: '1' },
  };
  return new Promise((resolve) => {
    execFile(program, parameters, options, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}
