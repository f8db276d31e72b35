import { scoreFile } from '../../recipes/index.js';
import type { ScoreFlags } from '../flags.js';
import { ProgressDisplay } from '../terminal/progress.js';
import { stepHooks } from '../terminal/step_progress.js';

export async function score(flags: ScoreFlags): Promise<void> {
  const display = new ProgressDisplay(process.stderr);
  const options = { ...flags, adapter: flags.adapter ?? null };
  const summary = await scoreFile(options, stepHooks(display)).finally(() => display.clear());
  const rate = Math.round(summary.tokens / Math.max(summary.seconds, 1e-3));
  process.stderr.write(
    `scored ${summary.documents} documents, ${summary.tokens} tokens (${rate} tok/s): ${flags.output}\n`,
  );
}
