/**
 * Training steps of this checkout and of another build of it, or of it in other circumstances, in alternating pairs:
 * two processes on the same weights and tokens take turns step by step, each going first in every second pair. What the
 * machine does meanwhile hits both alike, so the ratio of a pair means more than either time.
 *
 *     npm run bench:pairs -- --against ../main --mode lora        is this build slower than that one?
 *     npm run bench:pairs -- --against-threads 1 --beside 2       are two threads slower than one on a crowded machine?
 */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Side } from './side.js';
import { median, medianInterval } from './statistics.js';
import type { StepOptions, StepResult } from './step.js';
import { stepFlags, stepOptions, stepUsage } from './workload.js';

const usage = `usage: npm run bench:pairs -- [options]
  --against FOLDER           a built checkout                          (this one)
  --threads N                threads of this side                      (physical cores)
  --against-threads N        threads of the other side                 (as --threads)
  --beside N                 busy processes on the same machine        (0)
  --mode lora|full           what is trained                           (lora)
${stepUsage}
  --pairs N                  timed pairs                               (15)
  --steps N                  steps of each side in a pair              (1)`;

const { values: flags } = parseArgs({
  options: {
    against: { type: 'string', default: '.' },
    'against-threads': { type: 'string' },
    beside: { type: 'string', default: '0' },
    mode: { type: 'string', default: 'lora' },
    ...stepFlags,
    pairs: { type: 'string', default: '15' },
    steps: { type: 'string', default: '1' },
    help: { type: 'boolean', default: false },
  },
});

const isUsageError = !['lora', 'full'].includes(flags.mode) || !['bf16', 'fp32'].includes(flags.precision);
if (flags.help || isUsageError) {
  process.stdout.write(`${usage}\n`);
  process.exitCode = isUsageError ? 2 : 0;
} else await bench();

async function bench(): Promise<void> {
  const mode = flags.mode as StepOptions['mode'];
  const options: StepOptions = { ...(await stepOptions(flags)), mode };
  const ours = await start(path.resolve(import.meta.dirname, '../..'), options);
  const baseline = await start(path.resolve(flags.against), {
    ...options,
    threads: Number(flags['against-threads'] ?? options.threads),
  });
  const spinners = Array.from({ length: Number(flags.beside) }, spinningProcess);
  try {
    report(await takeTurns(ours, baseline));
  } finally {
    for (const spinner of spinners) spinner.kill('SIGKILL');
    ours.stop();
    baseline.stop();
  }
}

function start(checkout: string, options: StepOptions): Promise<Side<StepResult>> {
  return Side.start<StepResult>(process.execPath, [path.join(checkout, 'dist/bench/step.js')], options);
}

interface Pair {
  ours: StepResult[];
  baseline: StepResult[];
}

/** Runs both sides in turns. The first two steps of each load and warm up; the others are returned. */
async function takeTurns(ours: Side<StepResult>, baseline: Side<StepResult>): Promise<Pair[]> {
  for (let step = 0; step < 2; step += 1) {
    await ours.step();
    await baseline.step();
  }
  const takeSteps = async (side: Side<StepResult>): Promise<StepResult[]> => {
    const results: StepResult[] = [];
    while (results.length < Number(flags.steps)) results.push(await side.step());
    return results;
  };
  const pairs: Pair[] = [];
  while (pairs.length < Number(flags.pairs)) {
    if (pairs.length % 2 === 0)
      pairs.push({ ours: await takeSteps(ours), baseline: await takeSteps(baseline) });
    else {
      const baselineSteps = await takeSteps(baseline);
      pairs.push({ ours: await takeSteps(ours), baseline: baselineSteps });
    }
  }
  return pairs;
}

function report(pairs: readonly Pair[]): void {
  const seconds = (results: readonly StepResult[]) =>
    results.reduce((sum, result) => sum + result.seconds, 0) / results.length;
  const ratios = pairs.map(({ ours, baseline }) => seconds(baseline) / seconds(ours));
  const [low, high] = medianInterval(ratios);
  const areEqual = pairs.every(({ ours, baseline }) =>
    ours.every(({ loss, norm }, step) => loss === baseline[step]!.loss && norm === baseline[step]!.norm),
  );
  const times = (['ours', 'baseline'] as const).map((side) =>
    (median(pairs.map((pair) => seconds(pair[side]))) * 1000).toFixed(1),
  );
  process.stdout.write(
    `${flags.mode} ${flags.precision}, ${flags.batch} × ${flags.seq} tokens, ${pairs.length} pairs next to ${flags.beside} busy processes\n` +
      `  this ${times[0]} ms   the other ${times[1]} ms   the other ÷ this: median ${median(ratios).toFixed(3)}, ` +
      `95 % interval ${low.toFixed(3)}–${high.toFixed(3)}\n` +
      `  losses and norms ${areEqual ? 'are equal bit by bit' : 'DIFFER'}\n`,
  );
}

function spinningProcess(): ChildProcess {
  const spin =
    'setInterval(() => process.ppid === 1 && process.exit(), 1000); (function spin() { for (let i = 0; i < 1e7; i++); setImmediate(spin); })()';
  return spawn(process.execPath, ['-e', spin], { stdio: 'ignore' });
}
