/** The process in which the engine scores an export's probes, so that a crash of native code takes no worker with it. */
import { cpuDevice } from '../../../engine/index.js';
import { emit, serve } from '../../../shared/processes/forked_process.js';
import { Scorer } from './scorer.js';

export interface ProbeJob {
  /** Model folder, and a PEFT adapter folder or null. */
  modelFolder: string;
  adapter: string | null;
  probes: readonly (readonly number[])[];
}

export interface ProbeAnswer {
  /** log p(token i+1 | ≤ i) of each probe. */
  logprobs: Float32Array[];
}

async function score({ modelFolder, adapter, probes }: ProbeJob): Promise<void> {
  // The host's accelerators are its ranks'.
  const scorer = await Scorer.open(modelFolder, { adapter, precision: 'fp32', device: cpuDevice });
  emit({ logprobs: await scorer.score(probes) } satisfies ProbeAnswer);
}

serve((job) => score(job as ProbeJob));
