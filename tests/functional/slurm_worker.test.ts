/**
 * infra/slurm/worker.sbatch as Slurm runs it: signals reach the job step, the batch shell gets them later or not at all,
 * and the worker's exit code decides whether the job is queued again. srun and scontrol are stand-ins.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { freePort } from '../../workers/embedded_server/server_process.js';
import { TestServer } from '../support/temporal_server.js';
import { temporaryFolder } from '../support/temporary_folder.js';
import { until } from '../support/until.js';

const script = path.resolve('infra/slurm/worker.sbatch');
const folder = temporaryFolder();

/** srun replaces itself by the step's command, so that its process id is the step's. */
const srun = `#!/usr/bin/env bash
while [[ "$1" == --* ]]; do echo "$1" >> "$STUBS/srun"; shift; done
echo "$SRUN_CPUS_PER_TASK" > "$STUBS/cpus"
echo $$ > "$STUBS/step"
exec "$@"
`;
const scontrol = '#!/usr/bin/env bash\necho "$@" >> "$STUBS/scontrol"\n';

interface Job {
  batchShell: ChildProcess;
  log: () => string;
  ended: Promise<number | null>;
  signalStep(signal: NodeJS.Signals): void;
  /** Returns the lines that a stand-in has written; none if it was not called. */
  readCalls(stub: string): string[];
}

function submit(address: string): Job {
  const stubs = mkdtempSync(path.join(folder, 'job-'));
  const bin = path.join(stubs, 'bin');
  mkdirSync(bin);
  for (const [name, text] of Object.entries({ srun, scontrol })) {
    writeFileSync(path.join(bin, name), text);
    chmodSync(path.join(bin, name), 0o755);
  }
  const slurm = Object.keys(process.env).filter((name) => name.startsWith('SLURM_'));
  const env = {
    ...process.env,
    ...Object.fromEntries(slurm.map((name) => [name, undefined])),
    PATH: `${bin}:${process.env.PATH}`,
    STUBS: stubs,
    SLURM_JOB_ID: '4711',
    SLURM_CPUS_PER_TASK: '2',
    TEMPORAL_ADDRESS: address,
    TEMPER_CACHE: path.join(folder, 'cache'),
    TEMPER_THREADS: '1',
  };
  const batchShell = spawn('bash', [script], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [batchShell.stdout, batchShell.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  }
  const readLog = (name: string) => {
    const file = path.join(stubs, name);
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  };
  return {
    batchShell,
    log: () => log,
    ended: new Promise((resolve) => batchShell.on('close', resolve)),
    signalStep: (signal) => process.kill(Number(readLog('step')[0]), signal),
    readCalls: readLog,
  };
}

async function untilLog(job: Job, text: string): Promise<void> {
  await until(`the job to log ${text}`, () => {
    if (job.log().includes(text)) return true;
    if (job.batchShell.exitCode !== null) throw new Error(`the job ended: ${job.log()}`);
    return false;
  });
}

describe('with a server', () => {
  let server: TestServer;
  let job: Job;
  beforeAll(async () => {
    server = await TestServer.start();
  }, 60_000);
  afterAll(() => server.stop());
  beforeEach(async () => {
    job = submit(server.address);
    await untilLog(job, 'serving host');
  }, 60_000);

  test('the worker of a Slurm job is a step with the cores of its job', async () => {
    expect(job.readCalls('srun')).toEqual(['--ntasks=1', '--kill-on-bad-exit=0']);
    expect(job.readCalls('cpus')).toEqual(['2']);
    job.signalStep('SIGTERM');
    await job.ended;
  }, 60_000);

  test('near the time limit the worker stops, and its job is queued again, even when TERM follows', async () => {
    job.signalStep('SIGUSR2');
    await untilLog(job, 'SIGUSR2: ranks save and stop');
    job.signalStep('SIGTERM');
    job.batchShell.kill('SIGTERM');
    expect(await job.ended).toBe(99);
    expect(job.readCalls('scontrol')).toEqual(['requeue 4711']);
  }, 60_000);

  test('at a preemption the worker stops, and leaves it to Slurm to queue its job again', async () => {
    job.signalStep('SIGTERM');
    job.batchShell.kill('SIGTERM');
    expect(await job.ended).toBe(0);
    expect(job.log()).toContain('SIGTERM: ranks save and stop');
    expect(job.readCalls('scontrol')).toEqual([]);
  }, 60_000);

  test('the batch shell waits on TERM until its step has ended', async () => {
    job.batchShell.kill('SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(job.batchShell.exitCode).toBeNull();
    expect(job.batchShell.signalCode).toBeNull();
    job.signalStep('SIGTERM');
    expect(await job.ended).toBe(0);
  }, 60_000);
});

test('a Slurm job whose server cannot be reached exits with 75', async () => {
  const address = `127.0.0.1:${await freePort()}`;
  const job = submit(address);
  expect(await job.ended).toBe(75);
  expect(job.log()).toContain(address);
  expect(job.readCalls('scontrol')).toEqual([]);
}, 60_000);
