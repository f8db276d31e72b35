/**
 * Greedy decoding by ours (ONNX Runtime) and by transformers' `generate` in PyTorch, on the same weights, prompts and
 * threads. The sides are processes of their own that take turns answer by answer: what the machine does meanwhile hits all
 * alike, and the ratios of neighboring answers mean more than either side's figure.
 *
 *     npm run bench:generate -- --rounds 5
 */
import path from 'node:path';
import { parseArgs } from 'node:util';
import { resolveModel } from '../components/models/index.js';
import { defaultThreads } from '../engine/index.js';
import { cachedOnnx } from '../recipes/llm/onnx/onnx_cache.js';
import type { GenerateOptions, GenerateResult } from './generate_side.js';
import { Side } from './side.js';
import { median, spread } from './statistics.js';
import { peerInterpreter, peerProgram, quickstartWeights, randomDocuments } from './workload.js';

const usage = `usage: npm run bench:generate -- [options]
  --model FOLDER|FILE.gguf   weights                                   (SmolLM2-135M-Instruct)
  --batch N[,N…]             prompts that decode together              (1,8)
  --prompt N --tokens N      tokens of each prompt and of each answer  (64, 64)
  --rounds N                 timed answers of each side                (5)
  --fp16                     also Temper with an fp16 graph
  --threads N                threads of each side                      (physical cores)`;

const { values: flags } = parseArgs({
  options: {
    model: { type: 'string' },
    batch: { type: 'string', default: '1,8' },
    prompt: { type: 'string', default: '64' },
    tokens: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '5' },
    fp16: { type: 'boolean', default: false },
    threads: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

if (flags.help) process.stdout.write(`${usage}\n`);
else await bench();

interface Contender {
  name: string;
  side: Side<GenerateResult>;
  results: GenerateResult[];
}

async function bench(): Promise<void> {
  // Both sides load float32 weights; for bf16 torch rounds them itself, as it does for its users.
  const { folder, model } = await resolveModel(flags.model ?? quickstartWeights(), { ggufDType: 'f32' });
  const python = peerInterpreter();
  const precisions = flags.fp16 ? (['fp32', 'fp16'] as const) : (['fp32'] as const);
  for (const batch of flags.batch.split(',').map(Number)) {
    const common = {
      model: folder,
      onnx: '',
      prompts: randomDocuments(batch, Number(flags.prompt), model.vocabSize),
      newTokens: Number(flags.tokens),
      threads: flags.threads === undefined ? defaultThreads() : Number(flags.threads),
    };
    const contenders: Contender[] = [];
    try {
      for (const precision of precisions) {
        const cached = { modelFolder: folder, adapter: null, precision };
        const onnx = await cachedOnnx(cached, { progress: () => undefined });
        const program = path.join(import.meta.dirname, 'generate_side.js');
        const options: GenerateOptions = { ...common, onnx, precision };
        const side = await Side.start<GenerateResult>(process.execPath, [program], options);
        contenders.push({ name: `temper ${precision}`, side, results: [] });
      }
      for (const precision of ['fp32', 'bf16']) {
        const options: GenerateOptions = { ...common, precision };
        const side = await Side.start<GenerateResult>(
          python,
          ['-W', 'ignore', peerProgram('generate_peer.py')],
          options,
        );
        contenders.push({ name: `torch ${precision}`, side, results: [] });
      }
      await takeTurns(contenders);
      report(contenders, batch, common.threads);
    } finally {
      for (const { side } of contenders) side.stop();
    }
  }
}

/** Runs both sides in turns. The first answers warm up, and must be the same. */
async function takeTurns(contenders: readonly Contender[]): Promise<void> {
  const firstAnswers: number[][] = [];
  for (const { side } of contenders) firstAnswers.push((await side.step()).ids);
  const ours = firstAnswers[0]!;
  const torch = firstAnswers[contenders.findIndex(({ name }) => name === 'torch fp32')]!;
  const difference = ours.findIndex((id, i) => id !== torch[i]);
  // Random prompts lead to near-ties sooner or later, which rounding decides.
  if (difference >= 0 && difference < 8)
    throw new Error(
      `answers differ from token ${difference}: this is not the same work (${ours} and ${torch})`,
    );
  for (let round = 0; round < Number(flags.rounds); round += 1) {
    for (const { side, results } of contenders) results.push(await side.step());
  }
}

function report(contenders: readonly Contender[], batch: number, threads: number): void {
  say(`batch ${batch}, prompts of ${flags.prompt} tokens, answers of ${flags.tokens}, ${threads} threads`);
  const [ours] = contenders;
  for (const { name, results } of contenders) {
    const rates = results.map((result) => (batch * (Number(flags.tokens) - 1)) / decodeSeconds(result));
    const promptTimes = results.map(({ first }) => 1e3 * first);
    const decoding = results.map((result, i) => decodeSeconds(result) / decodeSeconds(ours!.results[i]!));
    const ratios = results.map((result, i) => result.total / ours!.results[i]!.total);
    say(
      `  ${name.padEnd(12)} ${median(rates).toFixed(1).padStart(6)} tok/s (${spread(rates, 1)})` +
        `   prompts ${median(promptTimes).toFixed(0)} ms` +
        (name === ours!.name
          ? ''
          : `   temper is ${median(decoding).toFixed(2)} × as fast (${spread(decoding, 2)}), with prompts ${median(ratios).toFixed(2)} ×`),
    );
  }
  say('');
}

function decodeSeconds({ first, total }: GenerateResult): number {
  return total - first;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
