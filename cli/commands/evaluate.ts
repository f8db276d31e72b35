import { evaluateModel, type ModelScores, readTasks } from '../../recipes/index.js';
import type { EvaluateFlags } from '../flags.js';
import { duration, ProgressDisplay } from '../terminal/progress.js';
import { stepHooks } from '../terminal/step_progress.js';

export async function evaluate(flags: EvaluateFlags): Promise<void> {
  const { model, adapter = null, precision, output = null, json } = flags;
  const tasks = await readTasks({ file: flags.tasks ?? null, inline: flags.task ?? [] });
  const display = new ProgressDisplay(process.stderr);
  const options = { model, adapter, precision, tasks, output };
  const scores = await evaluateModel(options, stepHooks(display)).finally(() => display.clear());
  process.stderr.write(`evaluated in ${duration(scores.seconds)}\n`);
  if (output !== null) process.stderr.write(`every example: ${output}\n`);
  if (json) process.stdout.write(`${JSON.stringify({ model, adapter, precision, ...scores })}\n`);
  else process.stdout.write(table(scores));
}

/** One line a metric: value, standard error, examples, and an arrow to where it is better. */
function table({ tasks }: ModelScores): string {
  const rows = tasks.flatMap(({ name, metrics }) =>
    Object.entries(metrics).map(([metric, { value, stderr, n, direction }]) => [
      `${name}/${metric}`,
      direction === null ? '' : direction === 'higher' ? '↑' : '↓',
      value.toFixed(4),
      stderr === null ? '' : `± ${stderr.toFixed(4)}`,
      `n ${n}`,
    ]),
  );
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map(
      ([name, arrow, value, stderr, n]) =>
        `${name!.padEnd(widths[0]!)}  ${arrow!.padEnd(widths[1]!)} ${value!.padStart(widths[2]!)}  ${stderr!.padEnd(widths[3]!)}  ${n!}\n`,
    )
    .join('');
}
