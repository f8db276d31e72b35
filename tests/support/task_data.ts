/** Data of benchmarks that lies outside the repository, and weights that the quickstart fetches. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { defaultCache } from '../../components/models/index.js';

const root = path.resolve(import.meta.dirname, '../../..');

/** A file of TEMPER_SHARED_DATA, by default `../shared/data` beside the checkout. */
export function taskData(name: string): string {
  return path.join(process.env.TEMPER_SHARED_DATA || path.join(root, '../shared/data'), name);
}

export const smollm2 = path.join(defaultCache(), 'models', 'SmolLM2-135M-Instruct.Q4_1.gguf');

/** `describe` where all files are there; elsewhere the tests are skipped, and it is said why. */
export function whereShared(...files: string[]): typeof describe | typeof describe.skip {
  const absent = files.filter((file) => !existsSync(file));
  for (const file of absent) process.stderr.write(`skipped: ${file} is not here\n`);
  return absent.length === 0 ? describe : describe.skip;
}
