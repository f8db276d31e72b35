/**
 * A training step of ours and of PyTorch on the same weights, tokens and threads. The two sides are processes of their own
 * that take turns step by step: what the machine does meanwhile hits both alike, and the ratios of neighboring steps mean
 * more than either side's figure.
 *
 *     npm run bench -- --mode lora --precision bf16 --rounds 3
 */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Side } from './side.js';
import { median, spread } from './statistics.js';
import type { StepOptions, StepResult } from './step.js';
import { peerInterpreter, peerProgram, stepFlags, stepOptions, stepUsage } from './workload.js';

const usage = `usage: npm run bench -- [options]
  --mode lora|full|both      what is trained                           (both)
${stepUsage}
  --rounds N --steps N       pairs of processes, timed steps of each   (3, 5)
  --threads N                threads of each side                      (physical cores)
  --compile                  the peer uses torch.compile
  --profile                  times of our ops, from one more run`;

/** The results of one pair of processes: the first step of each, which warms up, and the timed steps in pairs. */
interface Round {
  first: [ours: StepResult, torch: StepResult];
  pairs: [ours: StepResult, torch: StepResult][];
}

const { values: flags } = parseArgs({
  options: {
    mode: { type: 'string', default: 'both' },
    ...stepFlags,
    rounds: { type: 'string', default: '3' },
    steps: { type: 'string', default: '5' },
    compile: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const isUsageError =
  !['lora', 'full', 'both'].includes(flags.mode) || !['bf16', 'fp32'].includes(flags.precision);
if (flags.help || isUsageError) {
  process.stdout.write(`${usage}\n`);
  process.exitCode = isUsageError ? 2 : 0;
} else await bench();

async function bench(): Promise<void> {
  const options = { ...(await stepOptions(flags)), compile: flags.compile };
  const python = peerInterpreter();
  const modes = flags.mode === 'both' ? (['lora', 'full'] as const) : [flags.mode as 'lora' | 'full'];
  for (const mode of modes) await compare({ ...options, mode }, python);
}

async function compare(options: StepOptions, python: string): Promise<void> {
  const { mode, precision, tokens, threads, compile } = options;
  const peer = compile ? 'torch.compile' : 'torch eager';
  say(`${mode} ${precision}, ${tokens.length} × ${tokens[0]!.length} tokens, ${threads} threads`);
  const rounds: Round[] = [];
  for (let number = 1; number <= Number(flags.rounds); number += 1) {
    const round = await takeTurns(options, python);
    rounds.push(round);
    const [ours, torch] = [0, 1].map((side) =>
      rate(round.pairs.map((pair) => pair[side]!.seconds)).toFixed(0),
    );
    say(`  round ${number}   temper ${ours} tok/s   ${peer} ${torch} tok/s`);
  }
  report(rounds, peer);
  if (flags.profile) await profile(options);
}

async function takeTurns(options: StepOptions, python: string): Promise<Round> {
  const ours = await Side.start<StepResult>(
    process.execPath,
    [path.join(import.meta.dirname, 'step.js')],
    options,
  );
  const torch = await Side.start<StepResult>(python, ['-W', 'ignore', peerProgram('torch_peer.py')], options);
  try {
    const stepBoth = async (): Promise<[StepResult, StepResult]> => [await ours.step(), await torch.step()];
    const first = await stepBoth();
    requireSameWork(...first);
    await stepBoth();
    const pairs: Round['pairs'] = [];
    while (pairs.length < Number(flags.steps)) pairs.push(await stepBoth());
    return { first, pairs };
  } finally {
    ours.stop();
    torch.stop();
  }
}

/** Throws when the first losses differ: both sides see the same weights and tokens, and LoRA's B is zero at first. */
function requireSameWork(ours: StepResult, torch: StepResult): void {
  if (Math.abs(ours.loss / torch.loss - 1) > 0.01)
    throw new Error(
      `the first loss is ${ours.loss} here and ${torch.loss} in torch: this is not the same step`,
    );
}

function report(rounds: readonly Round[], peer: string): void {
  const pairs = rounds.flatMap((round) => round.pairs);
  for (const [side, name] of ['temper', peer].entries()) {
    const results = pairs.map((pair) => pair[side]!);
    const rates = results.map(({ seconds }) => rate([seconds]));
    const peak = Math.max(...results.map(({ peakBytes }) => peakBytes)) / 1e9;
    const firstStep = median(rounds.map((round) => round.first[side]!.seconds));
    say(
      `  ${name.padEnd(14)}${median(rates).toFixed(0)} tok/s (${spread(rates, 0)})   peak RSS ${peak.toFixed(2)} GB` +
        `   first step ${firstStep.toFixed(2)} s`,
    );
  }
  const ratios = pairs.map(([ours, torch]) => torch.seconds / ours.seconds);
  say(`  ratio         ${median(ratios).toFixed(2)} (${spread(ratios, 2)})\n`);
}

async function profile(options: StepOptions): Promise<void> {
  const step = path.join(import.meta.dirname, 'step.js');
  const side = await Side.start<StepResult>(process.execPath, [step], { ...options, profile: true });
  const results: StepResult[] = [];
  for (let number = 0; number <= Number(flags.steps); number += 1) results.push(await side.step());
  side.stop();
  const timedSteps = results.length - 1;
  const ops = results.at(-1)!.profile!.map(({ op, runs, seconds }) => ({
    op,
    runs: runs / timedSteps,
    milliseconds: (seconds / timedSteps) * 1e3,
  }));
  const total = ops.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  say(`  a step of ${(median(results.slice(1).map(({ seconds }) => seconds)) * 1e3).toFixed(0)} ms, by op`);
  for (const { op, runs, milliseconds } of ops) {
    const share = (milliseconds / total) * 100;
    if (share < 0.1) continue;
    say(
      `    ${op.padEnd(22)}${milliseconds.toFixed(1).padStart(8)} ms ${share.toFixed(1).padStart(6)} %   ${runs} runs`,
    );
  }
  say('');
}

/** Returns the tokens per second of the median of `seconds`. */
function rate(seconds: readonly number[]): number {
  return (Number(flags.batch) * Number(flags.seq)) / median(seconds);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
