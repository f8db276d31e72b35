import type { FinetuneResult } from '../../contracts/index.js';
import { duration } from './progress.js';

/** Prints the result of a run: as one JSON object, or as a few lines for a person. */
export function printResult(result: FinetuneResult, json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  const seconds = (Date.parse(result.finishedAt) - Date.parse(result.startedAt)) / 1000;
  const lines = [`${result.state} after ${result.steps} steps in ${duration(seconds)}`];
  const before: Record<string, number> = result.evaluation?.before ?? {};
  const after: Record<string, number> = result.evaluation?.after ?? {};
  const names = Object.keys(after);
  const width = Math.max(12, ...names.map((name) => name.length));
  for (const name of names) {
    const from = before[name] === undefined ? '' : `${before[name].toFixed(4)} → `;
    lines.push(`  ${name.padEnd(width)} ${from}${after[name]!.toFixed(4)}${certainty(result, name)}`);
  }
  lines.push(`  ${'model'.padEnd(width)} ${result.model}`);
  if (result.published) lines.push(`  ${'published'.padEnd(width)} ${result.published}`);
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** Returns the standard error and number of examples of a task's score. */
function certainty({ evaluation }: FinetuneResult, name: string): string {
  const score = evaluation?.scores.after[name];
  if (score === undefined) return '';
  return score.stderr === null ? `  (n ${score.n})` : `  (± ${score.stderr.toFixed(4)}, n ${score.n})`;
}
