import type { ModelScores } from '../../recipes/index.js';
import { command } from '../command/define.js';
import { jsonFlag, type ModelFlags, modelFlags, optionalText } from '../command/flags.js';
import { duration, ProgressDisplay, stepHooks } from '../terminal/index.js';

interface Flags extends ModelFlags {
  task?: string[];
  tasks?: string;
  precision: 'fp32' | 'bf16';
  json: boolean;
  output?: string;
}

export const evaluate = command<Flags>({
  docs: {
    brief: 'Score a model on tasks: multiple choice, question answering, perplexity, JSON',
    fullDescription:
      'Scores a model on tasks: hellaswag, multiple_choice, squad, perplexity, json_fields, samples. Definitions are those\n' +
      'of lm-evaluation-harness and the official SQuAD script; every score comes with its number of examples and standard error.',
  },
  flags: {
    ...modelFlags,
    task: {
      kind: 'parsed',
      parse: String,
      brief: '[NAME=]TASK:key=value,… e.g. hellaswag:path=val.jsonl,limit=100; may be repeated',
      variadic: true,
      optional: true,
    },
    tasks: optionalText("YAML file with a list 'tasks', as in a recipe's evaluation section"),
    precision: {
      kind: 'enum',
      values: ['fp32', 'bf16'],
      brief: 'precision of matrix products and activations for log-likelihoods',
      default: 'fp32',
    },
    json: jsonFlag,
    output: optionalText('JSON lines with every example'),
  },
  async run({
    model,
    adapter = null,
    precision,
    output = null,
    json,
    tasks: file = null,
    task: inline = [],
  }) {
    const { evaluateModel, readTasks } = await import('../../recipes/index.js');
    const tasks = await readTasks({ file, inline });
    const display = new ProgressDisplay(process.stderr);
    const options = { model, adapter, precision, tasks, output };
    const scores = await evaluateModel(options, stepHooks(display)).finally(() => display.clear());
    process.stderr.write(`evaluated in ${duration(scores.seconds)}\n`);
    if (output !== null) process.stderr.write(`every example: ${output}\n`);
    if (json) process.stdout.write(`${JSON.stringify({ model, adapter, precision, ...scores })}\n`);
    else process.stdout.write(table(scores));
  },
});

/** Returns one line for each metric: value, standard error, examples, and an arrow to where it is better. */
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
