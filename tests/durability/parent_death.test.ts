/** Every program that a worker or command forks exits with its parent, even while it is stopped. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { identifyProcess } from '../../shared/process_identity.js';
import { until } from '../support/until.js';

const programs = [
  'workers/processes/rank.js',
  'workers/processes/step.js',
  'components/generation/session_process.js',
  'recipes/llm/score/probe_process.js',
];

const parentCode = `
  const { fork } = await import('node:child_process');
  const options = { serialization: 'advanced', stdio: ['ignore', 'ignore', 'ignore', 'ipc'], execArgv: [] };
  console.log(fork(process.argv[1], [], options).pid);
  setInterval(() => {}, 1000);`;

/** Returns whether the program has begun to serve: it handles SIGUSR2, number 12. */
function isServing(pid: number): boolean {
  const [, caught] = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))!;
  return (BigInt(`0x${caught}`) & (1n << 11n)) !== 0n;
}

const isStopped = (pid: number) => /^State:\s*T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

test.each(programs)(
  '%s exits when its parent is killed, even while it is stopped',
  async (program) => {
    const file = new URL(`../../${program}`, import.meta.url).pathname;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', parentCode, file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const pid = await new Promise<number>((resolve) =>
      parent.stdout.once('data', (text) => resolve(Number(text))),
    );
    try {
      await until('it to serve', () => isServing(pid));
      process.kill(pid, 'SIGSTOP');
      await until('it to be stopped', () => isStopped(pid));
      parent.kill('SIGKILL');
      await until('it to end', () => identifyProcess(pid) === null);
    } finally {
      parent.kill('SIGKILL');
      if (identifyProcess(pid) !== null) process.kill(pid, 'SIGKILL');
    }
  },
  90_000,
);
