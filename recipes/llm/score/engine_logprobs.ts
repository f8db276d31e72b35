/** Log-probabilities by the engine, computed in a process of its own. */
import { EngineLost } from '../../../shared/errors.js';
import { Conversation } from '../../../shared/processes/forked_process.js';
import type { ProbeAnswer, ProbeJob } from './probe_process.js';

const program = new URL('./probe_process.js', import.meta.url);

/**
 * Returns log p(token i+1 | ≤ i) of each probe, in fp32.
 *
 * @throws what the process threw; EngineLost when it ended without saying why
 */
export async function engineLogprobs(job: ProbeJob, signal: AbortSignal): Promise<Float32Array[]> {
  signal.throwIfAborted();
  const conversation = new Conversation<ProbeJob, ProbeAnswer>(
    program,
    (message) => message as ProbeAnswer,
    (how) => new EngineLost(`the process that compares the engine with ONNX Runtime ended: ${how}`),
  );
  const abort = () => conversation.process.kill();
  signal.addEventListener('abort', abort);
  let logprobs: Float32Array[] = [];
  try {
    await conversation.request(job, (answer) => {
      logprobs = answer.logprobs;
      return true;
    });
    return logprobs;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    await conversation.kill();
  }
}
