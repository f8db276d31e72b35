import { exportRun } from '../../recipes/index.js';
import { UsageError } from '../../shared/errors.js';
import type { ExportFlags } from '../flags.js';
import { ProgressDisplay } from '../terminal/progress.js';
import { stepHooks } from '../terminal/step_progress.js';

const formNames = { adapter: 'adapter', merged: 'merged model', full: 'model' };

export async function exportModel(flags: ExportFlags, outputDir: string): Promise<void> {
  const { step = null, merge, onnx = null, output } = flags;
  if (step !== null && (!Number.isInteger(step) || step < 1))
    throw new UsageError(`--step ${step}: must be a whole number from 1`);
  const display = new ProgressDisplay(process.stderr);
  const exported = await exportRun({ outputDir, output, merge, onnx, step }, stepHooks(display)).finally(() =>
    display.clear(),
  );
  process.stderr.write(
    `published the ${formNames[exported.form]} of step ${exported.step}${onnx === null ? '' : ' and its ONNX export'}\n`,
  );
  process.stdout.write(`${exported.model}\n`);
}
