import type { DataReport } from '../../contracts/index.js';
import type { SetPreview } from '../../recipes/index.js';
import { recipeCommand } from '../command/define.js';
import { wholeNumber } from '../command/flags.js';
import { ProgressDisplay, stepHooks, usesColor } from '../terminal/index.js';

export const preview = recipeCommand<{ rows: number }>({
  docs: { brief: 'Show sample rows of the data with their template, and what the loss sees' },
  flags: {
    rows: { kind: 'parsed', parse: wholeNumber(1), brief: 'rows of each dataset to show', default: '3' },
  },
  async run({ rows }, recipe) {
    const { previewRun, readRecipe } = await import('../../recipes/index.js');
    const { DataError } = await import('../../shared/errors.js');
    const { value } = await readRecipe(recipe, this.overrides);
    const display = new ProgressDisplay(process.stderr);
    const color = usesColor(process.stdout);
    const sets = await previewRun(value, { rows, color }, stepHooks(display)).finally(() => display.clear());
    const legend = color
      ? 'what is trained on is green, the rest is dimmed'
      : 'what is trained on is in ⟦brackets⟧; a terminal shows colors';
    process.stdout.write(`${[...sets.map(describeSet), legend].join('\n\n')}\n`);
    const empty = sets.filter((set) => set.rows.length === 0).map(({ name }) => name);
    if (empty.length > 0) {
      throw new DataError(
        `${empty.join(', ')}: no rows are left to train on; check the files, and rows, limit and holdout in the recipe`,
      );
    }
  },
});

function describeSet({ name, rows, report }: SetPreview): string {
  const samples = rows.map(({ text, tokens, supervised }, index) => {
    const share = `${tokens} tokens, ${supervised} trained on`;
    return `${name} ${index + 1} (${share})\n${text.replace(/^/gm, '  ')}`;
  });
  const summary =
    report === null ? `${name} is not prepared yet; a run does that first` : describeReport(name, report);
  return [...samples, summary].join('\n\n');
}

/** Returns the result of preparing a dataset as one line. */
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
