/** Benchmark data that is kept outside the repository, and weights that the quickstart fetches. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { defaultCache } from '../../components/models/index.js';

const root = path.resolve(import.meta.dirname, '../../..');

/** Returns the path of a file in TEMPER_SHARED_DATA, by default `../shared/data` next to the checkout. */
export function taskData(name: string): string {
  return path.join(process.env.TEMPER_SHARED_DATA || path.join(root, '../shared/data'), name);
}

export const smollm2 = path.join(defaultCache(), 'models', 'SmolLM2-135M-Instruct.Q4_1.gguf');

/** Returns `describe` when all files exist; otherwise skips the tests, and prints which file is missing. */
export function describeWithFiles(...files: string[]): typeof describe | typeof describe.skip {
  const missingFiles = files.filter((file) => !existsSync(file));
  for (const file of missingFiles) process.stderr.write(`skipped: ${file} does not exist\n`);
  return missingFiles.length === 0 ? describe : describe.skip;
}
