/** `temper run` on its embedded server: parked, killed, next to other runs, and with a recipe that was changed meanwhile. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { newestSound } from '../../components/checkpoint/index.js';
import { openStorage } from '../../shared/storage/index.js';
import { findTemporalCli } from '../../workers/embedded_server/server_process.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { writeTinyModel } from '../support/tiny_model.js';
import { until } from '../support/until.js';

const bin = path.resolve(import.meta.dirname, '../../../bin/temper');
const folder = temporaryFolder();
const temporal = findTemporalCli();
const file = path.join(folder, 'recipe.yaml');

class Command {
  stdout = '';
  stderr = '';
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;

  constructor(...parameters: string[]) {
    const env = {
      ...process.env,
      TEMPER_CACHE: path.join(folder, 'cache'),
      TEMPORAL_CLI: temporal,
      TEMPORAL_ADDRESS: '',
    };
    this.#child = spawn(bin, parameters, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve) => this.#child.on('close', resolve));
  }

  /** Closes the reading end of its output. */
  closeOutput(): void {
    this.#child.stdout!.destroy();
    this.#child.stderr!.destroy();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for a line of stderr. */
  async untilLine(pattern: RegExp): Promise<void> {
    await until(`a line with ${pattern}`, () => {
      if (pattern.test(this.stderr)) return true;
      if (this.#child.exitCode !== null) throw new Error(`it exited without ${pattern}: ${this.stderr}`);
      return false;
    });
  }
}

const run = (name: string, ...more: string[]) =>
  new Command('run', 'recipe.yaml', `--name=${name}`, '--json', ...more);

const readSteps = (name: string): number[] =>
  readFileSync(path.join(folder, 'runs', name, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { step: number }).step);

const stepsUpTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1);

beforeAll(async () => {
  await writeTinyModel(path.join(folder, 'model'));
  writeFileSync(
    file,
    'name: tiny\nmodel: {name: ./model}\n' +
      'data:\n  train: {dataset_type: mock, documents: 400}\n  packed_sequence_size: 64\n' +
      'training: {precision: fp32, num_epochs: 1000}\ncheckpoint: {every_steps: 20}\n',
  );
});

test('a parked run resumes when it is run again, unless a key that must stay the same has changed', async () => {
  const parkedRun = run('parked');
  await parkedRun.untilLine(/step [1-9]/);
  parkedRun.kill('SIGINT');
  expect(await parkedRun.ended).toBe(130);
  expect(parkedRun.stderr).toContain('parked. Resume it with: temper run recipe.yaml --name=parked');

  // Another run neither waits for the parked one nor serves it.
  const otherRun = run('other', '--training.max_steps=5');
  expect(await otherRun.ended).toBe(0);
  const parkedSteps = readSteps('parked').length;

  const reseededRun = run('parked', '--seed=9');
  expect(await reseededRun.ended).toBe(1);
  expect(reseededRun.stderr).toContain('cannot continue with another seed');
  expect(readSteps('parked')).toHaveLength(parkedSteps);

  const shorterRun = run('parked', `--training.max_steps=${parkedSteps + 7}`);
  expect(await shorterRun.ended).toBe(0);
  expect(JSON.parse(shorterRun.stdout)).toMatchObject({ state: 'completed', steps: parkedSteps + 7 });
  expect(readSteps('parked')).toEqual(stepsUpTo(parkedSteps + 7));
}, 120_000);

test('a command that follows a run takes it over when the process that served it is killed', async () => {
  const server = run('followed');
  await server.untilLine(/step [1-9]/);
  const follower = run('followed');
  await follower.untilLine(/step [1-9]/);
  server.kill('SIGKILL');
  await server.ended;
  await follower.untilLine(/host lost at step[\s\S]*host granted/);
  follower.kill('SIGINT');
  expect(await follower.ended).toBe(130);
  expect(follower.stderr).toContain('parked');
}, 120_000);

test('a command with another recipe for a run that is under way is refused, and says so', async () => {
  const server = run('busy');
  await server.untilLine(/step [1-9]/);
  const follower = run('busy', '--seed=9');
  await follower.untilLine(/already running with another recipe/);
  follower.kill('SIGINT');
  expect(await follower.ended).toBe(130);
  expect(follower.stderr).toContain('detached');
  server.kill('SIGINT');
  expect(await server.ended).toBe(130);
}, 120_000);

const serverFile = path.join(folder, 'cache', 'server', 'server.json');
const hasNoServer = () => !existsSync(serverFile);

/** Returns the step of the newest checkpoint in the run's commit log. */
async function readCommittedStep(name: string): Promise<number> {
  const storage = await openStorage(path.join(folder, 'runs', name), { roots: null });
  return (await newestSound(storage)).entry?.trainer.step ?? 0;
}

test('when the embedded server is killed, it is started again, and the command finishes', async () => {
  const command = run('outlived', '--training.max_steps=60');
  // The command's own lines would not do: one may name step 60 when the run is already over.
  const metrics = path.join(folder, 'runs', 'outlived', 'metrics.jsonl');
  await until('the first step', () => existsSync(metrics) && readFileSync(metrics).length > 0);
  const { process: server } = JSON.parse(readFileSync(serverFile, 'utf8')) as { process: { pid: number } };
  process.kill(server.pid, 'SIGKILL');
  expect(await command.ended).toBe(0);
  expect(command.stderr).toContain('the Temporal server had exited and was restarted');
  expect(command.stderr + command.stdout).not.toMatch(/gRPC call|temporalio_client/);
  expect(JSON.parse(command.stdout)).toMatchObject({ state: 'completed', steps: 60 });
  expect(hasNoServer()).toBe(true);
}, 180_000);

test.each([
  ['a closed terminal (SIGHUP)', 'hung-up', (command: Command) => command.kill('SIGHUP')],
  ['a closed output', 'unread', (command: Command) => command.closeOutput()],
  [
    'three signals in quick succession',
    'impatient',
    (command: Command) => {
      for (const delay of [0, 100, 200]) setTimeout(() => command.kill('SIGINT'), delay);
    },
  ],
])(
  '%s saves the run and leaves no server behind',
  async (_, name, interrupt) => {
    const command = run(name);
    await command.untilLine(/step [1-9]/);
    interrupt(command);
    expect(await command.ended).toBe(130);
    expect(await readCommittedStep(name)).toBe(readSteps(name).at(-1));
    expect(hasNoServer()).toBe(true);
  },
  120_000,
);
