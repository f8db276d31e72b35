import type { FinetuneResult } from '../contracts/index.js';
import { duration } from './progress.js';

/** The end of a run: one JSON object, or a few lines for a person. */
export function printResult(result: FinetuneResult, json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  const seconds = (Date.parse(result.finishedAt) - Date.parse(result.startedAt)) / 1000;
  const lines = [`${result.state} after ${result.steps} steps in ${duration(seconds)}`];
  const before: Record<string, number> = result.evaluation?.before ?? {};
  const after: Record<string, number> = result.evaluation?.after ?? {};
  for (const [name, value] of Object.entries(after)) {
    const from = before[name] === undefined ? '' : `${before[name].toFixed(4)} → `;
    lines.push(`  ${name.padEnd(12)} ${from}${value.toFixed(4)}`);
  }
  lines.push(`  model        ${result.model}`);
  process.stdout.write(`${lines.join('\n')}\n`);
}
