import type { DataReport } from '../../contracts/index.js';
import { previewRun, readRecipe, type SetPreview } from '../../recipes/index.js';
import { DataError, UsageError } from '../../shared/errors.js';
import type { Context } from '../command/context.js';
import type { PreviewFlags } from '../flags.js';
import { ProgressDisplay } from '../terminal/progress.js';
import { stepHooks } from '../terminal/step_progress.js';
import { usesColor } from '../terminal/color.js';

export async function preview(this: Context, { rows }: PreviewFlags, recipe: string): Promise<void> {
  if (!Number.isInteger(rows) || rows < 1)
    throw new UsageError(`--rows ${rows}: must be a whole number from 1`);
  const { value } = await readRecipe(recipe, this.overrides);
  const display = new ProgressDisplay(process.stderr);
  const color = usesColor(process.stdout);
  const sets = await previewRun(value, { rows, color }, stepHooks(display)).finally(() => display.clear());
  const legend = color
    ? 'trained on in green, the rest dimmed'
    : 'trained on in ⟦brackets⟧; colours on a terminal';
  process.stdout.write(`${[...sets.map(describeSet), legend].join('\n\n')}\n`);
  const empty = sets.filter((set) => set.rows.length === 0).map(({ name }) => name);
  if (empty.length > 0) {
    throw new DataError(
      `${empty.join(', ')}: no row is left to train on; look at the files, and at rows, limit and holdout of the recipe`,
    );
  }
}

function describeSet({ name, rows, report }: SetPreview): string {
  const samples = rows.map(({ text, tokens, supervised }, index) => {
    const share = `${tokens} tokens, ${supervised} trained on`;
    return `${name} ${index + 1} (${share})\n${text.replace(/^/gm, '  ')}`;
  });
  const summary =
    report === null ? `${name} has yet to be prepared; a run does that first` : describeReport(name, report);
  return [...samples, summary].join('\n\n');
}

/** What preparing a dataset came to, in a line. */
export function describeReport(name: string, report: DataReport): string {
  const parts = [
    `${report.documents} documents`,
    `${report.tokens} tokens (${report.supervisedTokens} trained on)`,
    `${report.packs} packs, ${(100 * report.packingEfficiency).toFixed(1)} % full`,
    `${report.truncated} truncated`,
    `${report.split} split`,
    `${report.dropped} dropped`,
  ];
  return `${name}: ${parts.join(', ')}`;
}
