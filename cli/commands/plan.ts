import type { RunForecast } from '../../recipes/index.js';
import { formatGigabytes } from '../../shared/format.js';
import { recipeCommand } from '../command/define.js';
import { jsonFlag } from '../command/flags.js';
import { ProgressDisplay, stepHooks } from '../terminal/index.js';
import { describeReport } from './preview.js';

interface Flags {
  device?: string;
  json: boolean;
  print: boolean;
}

export const plan = recipeCommand<Flags>({
  docs: { brief: 'Print memory, FLOPs and steps of a recipe, before anything is allocated' },
  flags: {
    device: {
      kind: 'parsed',
      parse: String,
      brief: "device to plan for, e.g. cpu:0 (default: this host's)",
      optional: true,
    },
    json: jsonFlag,
    print: { kind: 'boolean', brief: 'print the whole plan as text', default: false },
  },
  async run({ device, json, print }, recipe) {
    const { defaultDevice } = await import('../../engine/index.js');
    const { doesNotFit, planRun, readRecipe } = await import('../../recipes/index.js');
    const { OutOfMemoryError } = await import('../../shared/errors.js');
    const { value } = await readRecipe(recipe, this.overrides);
    const display = new ProgressDisplay(process.stderr);
    const planned = planRun(value, stepHooks(display), device ?? defaultDevice());
    const { summary, text } = await planned.finally(() => display.clear());
    if (json) process.stdout.write(`${JSON.stringify(summary)}\n`);
    else process.stdout.write(`${print ? text() : describe(summary)}\n`);
    if (summary.memory.total > summary.available) {
      const { perLayer, ...memory } = summary.memory;
      throw new OutOfMemoryError(doesNotFit(memory, summary.available));
    }
  },
});

const gigabytes = (bytes: number) => formatGigabytes(bytes, 3);
const millions = (count: number) => `${(count / 1e6).toFixed(2)} M`;
const line = (name: string, ...cells: string[]) =>
  `  ${name.padEnd(12)}${cells.map((cell) => cell.padStart(14)).join('')}`;

function describe(summary: RunForecast): string {
  const { model, batch, memory, recomputed, plan: compiled, lowered } = summary;
  const programs = Object.entries(compiled.programs).map(([name, records]) => `${name} ${records}`);
  return [
    `${model.name}: ${millions(model.parameters)} parameters, ${millions(model.trained)} trained`,
    `micro-batch of ${batch.micro} × ${batch.packedSequenceSize} tokens, ${batch.microBatchesPerStep} per step`,
    `plan ${compiled.digest.slice(0, 16)}: ${compiled.records} records (${programs.join(', ')})`,
    ...lowered.map(
      ({ op, records }) =>
        `runs without a kernel of its own: ${op} (${records} record${records === 1 ? '' : 's'}) by its fallback`,
    ),
    '',
    'memory per rank',
    ...memoryLines(memory, summary.available),
    `  activations kept per layer: ${gigabytes(memory.perLayer)}; recomputed: ` +
      `${recomputed.full} of ${recomputed.of} layers in full, the cheap ops of ${recomputed.cheap}`,
    '',
    ...workLines(summary),
    '',
    ...dataLines(summary),
    ...summary.notices.map((notice) => `notice: ${notice}`),
  ].join('\n');
}

function memoryLines({ perLayer: _, total, ...parts }: RunForecast['memory'], available: number): string[] {
  return [
    ...Object.entries(parts).map(([name, bytes]) => line(name, gigabytes(bytes))),
    line('total', gigabytes(total), `of ${gigabytes(available)}`),
  ];
}

function workLines({ work, batch }: RunForecast): string[] {
  const gigaflops = (flops: number) => `${(flops / 1e9).toFixed(1)} GFLOP`;
  const n = batch.microBatchesPerStep;
  const row = (name: string, micro: number) => line(name, gigaflops(micro), gigaflops(micro * n));
  return [
    line('work', 'micro-batch', 'step'),
    row('forward', work.forward),
    row('recompute', work.recompute),
    row('backward', work.backward),
    line('optimizer', '', gigaflops(work.optimizer)),
    line('bytes moved', gigabytes(work.microBytes), gigabytes(work.microBytes * n + work.optimizerBytes)),
  ];
}

function dataLines({ steps, data, dataProblem }: RunForecast): string[] {
  if (dataProblem !== null) return [`the number of steps is not known: ${dataProblem}`];
  if (steps === null || data === null)
    return ['the number of steps is not known until the data is prepared, which a run does first'];
  const reports = Object.entries(data).map(([name, report]) => describeReport(name, report));
  return [...reports, `${steps.perEpoch} steps per epoch, ${steps.total} in total`];
}
