import { command } from '../command/define.js';
import { type ModelFlags, modelFlags, text } from '../command/flags.js';
import { ProgressDisplay, stepHooks } from '../terminal/index.js';

interface Flags extends ModelFlags {
  precision: 'fp32' | 'bf16';
  input: string;
  output: string;
}

export const score = command<Flags>({
  docs: { brief: 'Compute the log-probabilities of given tokens or texts' },
  flags: {
    ...modelFlags,
    precision: {
      kind: 'enum',
      values: ['fp32', 'bf16'],
      brief: 'precision of matrix products and activations',
      default: 'fp32',
    },
    input: text('JSON lines with input_ids, text, or prompt and completion'),
    output: text('JSON lines with logprobs'),
  },
  async run(flags) {
    const { scoreFile } = await import('../../recipes/index.js');
    const display = new ProgressDisplay(process.stderr);
    const options = { ...flags, adapter: flags.adapter ?? null };
    const summary = await scoreFile(options, stepHooks(display)).finally(() => display.clear());
    const rate = Math.round(summary.tokens / Math.max(summary.seconds, 1e-3));
    process.stderr.write(
      `scored ${summary.documents} documents, ${summary.tokens} tokens (${rate} tok/s): ${flags.output}\n`,
    );
  },
});
