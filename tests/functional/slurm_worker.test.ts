/** infra/slurm/worker.sbatch as a batch system runs it: signals reach the worker, and its exit code is the job's. */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { freePort } from '../../infra/temporal/server_process.js';
import { TestServer } from '../support/temporal_server.js';
import { temporaryFolder } from '../support/temporary_folder.js';

const script = path.resolve('infra/slurm/worker.sbatch');
const folder = temporaryFolder();

interface Job {
  child: ChildProcess;
  log: () => string;
  ended: Promise<number | null>;
}

function submit(address: string): Job {
  const slurm = Object.keys(process.env).filter((name) => name.startsWith('SLURM_'));
  const env = {
    ...process.env,
    ...Object.fromEntries(slurm.map((name) => [name, undefined])),
    TEMPORAL_ADDRESS: address,
    TEMPER_CACHE: path.join(folder, 'cache'),
    TEMPER_THREADS: '1',
  };
  const child = spawn('bash', [script], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  }
  return { child, log: () => log, ended: new Promise((resolve) => child.on('close', resolve)) };
}

test.each(['SIGUSR2', 'SIGTERM'] as const)(
  '%s to the job has the worker make way and ends it with 0',
  async (signal) => {
    const server = await TestServer.start();
    try {
      const job = submit(server.address);
      while (!job.log().includes('serving host')) {
        if (job.child.exitCode !== null) throw new Error(`the job ended: ${job.log()}`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      job.child.kill(signal);
      expect(await job.ended).toBe(0);
      expect(job.log()).toContain(`${signal}: ranks save and make way`);
    } finally {
      await server.stop();
    }
  },
  60_000,
);

test('a server that cannot be reached ends it with 75', async () => {
  const address = `127.0.0.1:${await freePort()}`;
  const job = submit(address);
  expect(await job.ended).toBe(75);
  expect(job.log()).toContain(address);
}, 60_000);
