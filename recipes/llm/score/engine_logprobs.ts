/** Log-probabilities by the engine, computed in a process of its own. */
import { EngineLost, TemperError } from '../../../shared/errors.js';
import { ForkedProcess } from '../../../shared/forked_process.js';
import type { ProbeAnswer, ProbeJob } from './probe_process.js';

const program = new URL('./probe_process.js', import.meta.url);

/** log p(token i+1 | ≤ i) of each probe, in fp32. Throws what the process threw, EngineLost when it dies. */
export function engineLogprobs(job: ProbeJob, signal: AbortSignal): Promise<Float32Array[]> {
  return new Promise((resolve, reject) => {
    const hear = (message: unknown) => {
      const answer = message as ProbeAnswer;
      if ('logprobs' in answer) resolve(answer.logprobs);
      else reject(new TemperError(answer.code, answer.message));
      probe.kill();
    };
    const probe = new ForkedProcess<ProbeJob>(program, hear, (how) => {
      signal.removeEventListener('abort', stop);
      reject(new EngineLost(`the process that compares the engine with ONNX Runtime ended: ${how}`));
    });
    const stop = () => {
      reject(signal.reason);
      probe.kill();
    };
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
    else probe.send(job);
  });
}
