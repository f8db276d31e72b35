// `npm test`: types, style, the kernels' tests and every jest suite, one after another; a failure does not stop the rest.
// The last line is `N passed, N failed`. With `--interop`, the checks that need Python come last.
import { spawn } from 'node:child_process';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const results = path.join(root, 'build/test-results');
const bin = (name) => path.join(root, 'node_modules/.bin', name);
const environment = {
  ...process.env,
  NODE_OPTIONS: [process.env.NODE_OPTIONS, '--experimental-vm-modules --disable-warning=ExperimentalWarning']
    .filter(Boolean)
    .join(' '),
};

let passed = 0;
let failed = 0;

function run(command, args) {
  const child = spawn(command, args, {
    cwd: root,
    env: environment,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return new Promise((resolve) => {
    child.on('error', () => resolve(127));
    child.on('close', (code, signal) => resolve(signal === null ? code : 1));
  });
}

async function section(name, work) {
  const started = Date.now();
  process.stdout.write(`\n── ${name}\n`);
  await work();
  process.stdout.write(`── ${name}: ${Math.round((Date.now() - started) / 1000)} s\n`);
}

/** A check that counts as one test. */
const check = (name, command, args) =>
  section(name, async () => {
    if ((await run(command, args)) === 0) passed += 1;
    else failed += 1;
  });

/** Native tests, counted by program. */
const native = () =>
  section('native tests', async () => {
    const junit = path.join(results, 'native.xml');
    await rm(junit, { force: true });
    const code = await run('bash', ['infra/setup/build_native.sh', '--tests', `--junit=${junit}`]);
    const text = await readFile(junit, 'utf8').catch(() => '');
    const count = (attribute) =>
      Number(new RegExp(`<testsuite[^>]*\\b${attribute}="(\\d+)"`).exec(text)?.[1] ?? 0);
    passed += count('tests') - count('failures');
    failed += Math.max(count('failures'), code === 0 ? 0 : 1);
  });

const jest = (name, args) =>
  section(name, async () => {
    const file = path.join(results, `${name.replaceAll(' ', '_')}.json`);
    await rm(file, { force: true });
    const code = await run(process.execPath, [bin('jest'), '--json', `--outputFile=${file}`, ...args]);
    const report = JSON.parse(await readFile(file, 'utf8').catch(() => 'null'));
    passed += report?.numPassedTests ?? 0;
    const broken = (report?.numFailedTests ?? 0) + (report?.numRuntimeErrorTestSuites ?? 0);
    failed += Math.max(broken, code === 0 ? 0 : 1);
  });

await mkdir(results, { recursive: true });
await check('types', bin('tsc'), ['--noEmit']);
await check('style', bin('biome'), ['check', '--error-on-warnings', '.']);
await native();
await jest('unit tests', ['tests/unit', '--maxWorkers=2']);
await jest('simulators', ['tests/simulators', 'tests/mutations', '--runInBand']);
await jest('parity tests', ['tests/parity', '--runInBand']);
await jest('functional tests', ['tests/functional', '--runInBand']);
await jest('durability tests', ['tests/durability', '--runInBand']);
if (process.argv.includes('--interop')) {
  await jest('interop tests', ['--testMatch', '<rootDir>/dist/tests/interop/*.interop.js', '--runInBand']);
}
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
