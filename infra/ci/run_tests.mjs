// `npm test`: types, style, the kernels' tests and every jest suite, one after another; a failure does not stop the rest.
// Failed tests are listed again at the end. The last line is `N passed, N failed`. With `--interop`, the checks that need
// Python come last.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
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

/** ms that a section may take. */
const timeLimit = 30 * 60_000;
/** ms that jest may take to exit after its report. */
const exitLimit = 15_000;

let passed = 0;
let failed = 0;
/** Failed tests, with the first lines of their messages. */
const failures = [];

/** Children of this process; each leads a process group, which ends with it. */
const groups = new Set();

function endGroup(child) {
  groups.delete(child);
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // All have ended.
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => {
    for (const child of groups) endGroup(child);
    process.exit(1);
  });

/**
 * Runs a command to its end, and ends what it leaves running.
 * @param report file that it writes last; null for none
 * @returns its exit code; 1 when it had to be ended
 */
function run(command, args, report = null) {
  const child = spawn(command, args, {
    cwd: root,
    env: environment,
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
  });
  groups.add(child);
  return new Promise((resolve) => {
    const giveUp = (reason) => {
      failures.push(`${path.basename(command)} ${args.join(' ')}: ${reason}`);
      endGroup(child);
    };
    const started = Date.now();
    let reported = null;
    const timer = setInterval(() => {
      const now = Date.now();
      if (report !== null && reported === null && existsSync(report)) reported = now;
      if (now - started > timeLimit) giveUp(`still running after ${timeLimit / 60_000} minutes`);
      else if (reported !== null && now - reported > exitLimit)
        giveUp(
          'its tests have ended and it still runs: one of them left a timer, a loop or a process behind',
        );
    }, 1000);
    const end = (code) => {
      clearInterval(timer);
      resolve(code);
    };
    child.on('error', () => end(127));
    child.on('exit', (code) => {
      endGroup(child);
      end(code ?? 1);
    });
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
    else {
      failed += 1;
      failures.push(name);
    }
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
    if (code !== 0) failures.push('native tests');
  });

/** The tests that failed, each with the first lines of its message. */
function failedTests(report) {
  const colors = new RegExp(`${String.fromCharCode(27)}\\[\\d*m`, 'g');
  return report.testResults.flatMap(({ name, message, assertionResults }) => {
    const file = path.relative(path.join(root, 'dist'), name);
    const broken = assertionResults.filter(({ status }) => status === 'failed');
    const told = broken.map(({ fullName, failureMessages }) => [fullName, failureMessages.join('\n')]);
    if (broken.length === 0 && message !== '') told.push(['did not run', message]);
    return told.map(
      ([test, text]) =>
        `${file}: ${test}\n    ${text.replace(colors, '').split('\n').slice(0, 8).join('\n    ').slice(0, 800)}`,
    );
  });
}

const jest = (name, args) =>
  section(name, async () => {
    const file = path.join(results, `${name.replaceAll(' ', '_')}.json`);
    await rm(file, { force: true });
    const code = await run(process.execPath, [bin('jest'), '--json', `--outputFile=${file}`, ...args], file);
    const report = JSON.parse(await readFile(file, 'utf8').catch(() => 'null'));
    if (report === null) failures.push(`${name}: no report`);
    else failures.push(...failedTests(report));
    passed += report?.numPassedTests ?? 0;
    const broken = (report?.numFailedTests ?? 0) + (report?.numRuntimeErrorTestSuites ?? 0);
    failed += Math.max(broken, code === 0 ? 0 : 1);
  });

await mkdir(results, { recursive: true });
const withInterop = process.argv.includes('--interop');
// Several GB to download where they are missing, in the meantime.
const peers = withInterop
  ? run('bash', [
      '-c',
      '{ bash $0/install.sh; bash $0/install.sh onnx; bash $0/install_js.sh; } >/dev/null',
      'infra/peers',
    ])
  : null;
await check('types', bin('tsc'), ['--noEmit']);
await check('style', bin('biome'), ['check', '--error-on-warnings', '.']);
await native();
await jest('unit tests', [
  'tests/unit',
  'tests/parity',
  'tests/simulators',
  'tests/mutations',
  '--maxWorkers=2',
]);
// These start servers and processes, and wait for them half of the time.
await jest('functional and durability tests', ['tests/durability', 'tests/functional', '--maxWorkers=3']);
if (withInterop) {
  await peers;
  await jest('interop tests', ['--testMatch', '<rootDir>/dist/tests/interop/*.interop.js', '--runInBand']);
}
if (failures.length > 0) process.stdout.write(`\n── what failed\n${failures.join('\n')}\n`);
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
