/** Log-probabilities by the engine, computed in a process of its own. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { TemperError } from '../../../shared/errors.js';
import type { ProbeAnswer, ProbeJob } from './probe_process.js';

const program = fileURLToPath(new URL('./probe_process.js', import.meta.url));

/** log p(token i+1 | ≤ i) of each probe, in fp32. Throws what the process threw, EngineLost when it dies. */
export function engineLogprobs(job: ProbeJob, signal: AbortSignal): Promise<Float32Array[]> {
  return new Promise((resolve, reject) => {
    const child = fork(program, [], {
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      execArgv: [],
      env: { ...process.env },
    });
    const stop = () => {
      child.kill('SIGKILL');
      reject(signal.reason);
    };
    signal.addEventListener('abort', stop);
    child.on('message', (answer: ProbeAnswer) => {
      if ('logprobs' in answer) resolve(answer.logprobs);
      else reject(new TemperError(answer.code, answer.message));
      child.kill('SIGKILL');
    });
    child.on('error', reject);
    child.on('exit', (code, by) => {
      signal.removeEventListener('abort', stop);
      reject(
        new TemperError(
          'EngineLost',
          `the process that compares the engine with ONNX Runtime ended (${by ?? `exit code ${code}`})`,
        ),
      );
    });
    child.send(job, (error) => {
      if (error !== null) reject(error);
    });
  });
}
