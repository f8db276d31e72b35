// `npm run verify:long`: what takes too long for every change. Prints and keeps in docs/results/verify-long.txt what each
// check printed last, and ends with a line `N passed, N failed, N skipped`. A check that cannot run here (exit code 77) is named.
//   --against COMMIT   the commit that numbers and speed are compared with (the first slice, c64f28a)
//   --only NAME        the checks whose name contains NAME
import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const { values } = parseArgs({
  options: { against: { type: 'string', default: 'c64f28a' }, only: { type: 'string', default: '' } },
});
const environment = {
  ...process.env,
  NODE_OPTIONS: '--experimental-vm-modules --disable-warning=ExperimentalWarning',
};
const jest = path.join(root, 'node_modules/.bin/jest');
const built = `build/against/${values.against.slice(0, 12)}`;

/** `needs`: a path without which the check is skipped. `kept`: lines of its output that the report keeps. */
const checks = [
  {
    name: 'commit-log simulator',
    run: ['node', 'dist/tests/simulators/commit_log.js', '--seeds', '10000'],
    kept: 5,
  },
  { name: 'mutations', run: ['node', jest, 'dist/tests/mutations', '--runInBand'], kept: 5 },
  { name: 'numbers on SmolLM2', run: ['node', jest, 'dist/tests/parity/smollm2', '--runInBand'], kept: 8 },
  { name: 'same bits as before', run: ['node', 'infra/peers/against.mjs', values.against], kept: 10 },
  {
    name: 'dropout as before, mean of 20 seeds',
    run: ['node', 'infra/peers/against.mjs', values.against, '--dropout-seeds', '20', '--steps', '8'],
    kept: 2,
  },
  ...['lora', 'full'].map((mode) => ({
    name: `speed against before, ${mode}`,
    run: ['node', 'dist/bench/step_pairs.js', '--against', built, '--mode', mode],
    needs: built,
    kept: 4,
  })),
  {
    name: 'two threads on a crowded machine',
    run: ['node', 'dist/bench/step_pairs.js', '--against-threads', '1', '--beside', '2'],
    kept: 4,
  },
  {
    name: 'a hundred kills',
    run: ['node', jest, '--testMatch', '<rootDir>/dist/tests/soak/*.soak.js'],
    kept: 5,
  },
  { name: 'a real Slurm', run: ['bash', 'infra/setup/test_slurm.sh'], kept: 8 },
  { name: 'arm64 under qemu', run: ['bash', 'infra/setup/test_arm64.sh'], kept: 6 },
];

function run([command, ...args]) {
  const child = spawn(command, args, { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
      process.stdout.write(text);
    });
  }
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ code: 127, output: error.message }));
    child.on('close', (code, signal) => resolve({ code: signal === null ? code : 1, output }));
  });
}

const exists = (file) =>
  readFile(path.join(root, file, 'package.json')).then(
    () => true,
    () => false,
  );

const counts = { passed: 0, failed: 0, skipped: 0 };
const report = [
  `${new Date().toISOString()}, ${cpus()[0].model}, ${cpus().length} CPUs, against ${values.against}`,
];
for (const { name, run: command, needs, kept } of checks) {
  if (!name.includes(values.only)) continue;
  process.stdout.write(`\n── ${name}\n`);
  if (needs !== undefined && !(await exists(needs))) {
    counts.skipped += 1;
    report.push('', `── ${name}: skipped, there is no ${needs}`);
    continue;
  }
  const started = Date.now();
  const { code, output } = await run(command);
  const outcome = code === 0 ? 'passed' : code === 77 ? 'skipped' : 'failed';
  counts[outcome] += 1;
  const seconds = Math.round((Date.now() - started) / 1000);
  report.push('', `── ${name}: ${outcome}, ${seconds} s`);
  report.push(...output.trimEnd().split('\n').slice(-kept));
}
const summary = `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
process.stdout.write(`\n${summary}\n`);
if (values.only === '') {
  const folder = path.join(root, 'docs/results');
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'verify-long.txt'), `${[...report, '', summary].join('\n')}\n`);
}
process.exitCode = counts.failed === 0 && counts.passed > 0 ? 0 : 1;
