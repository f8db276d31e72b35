/**
 * The process in which the engine scores an export's probes, so that a crash of native code takes no worker with it. One job
 * comes as a message and is answered; the process dies with its parent.
 */
import { TemperError } from '../../../shared/errors.js';
import { liveForParent } from '../../../shared/forked_process.js';
import { Scorer } from './scorer.js';

export interface ProbeJob {
  /** Model folder, and a PEFT adapter folder or null. */
  modelFolder: string;
  adapter: string | null;
  probes: readonly (readonly number[])[];
}

export type ProbeAnswer = { logprobs: Float32Array[] } | { code: string; message: string };

async function score({ modelFolder, adapter, probes }: ProbeJob): Promise<ProbeAnswer> {
  const scorer = await Scorer.open(modelFolder, { adapter, precision: 'fp32' });
  return { logprobs: await scorer.score(probes) };
}

function failure(error: unknown): ProbeAnswer {
  const code = error instanceof TemperError ? error.code : 'Error';
  return { code, message: error instanceof Error ? error.message : String(error) };
}

liveForParent();
process.once('message', (job: ProbeJob) => {
  score(job)
    .catch(failure)
    .then((answer) => process.send!(answer));
});
