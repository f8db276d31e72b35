import { generateFile, openTextGenerator, type TextGenerator } from '../../recipes/index.js';
import { UsageError } from '../../shared/errors.js';
import type { AnsweringFlags, GenerateFlags } from '../flags.js';
import { ProgressDisplay } from '../terminal/progress.js';
import { stepHooks } from '../terminal/step_progress.js';

export async function generate(flags: GenerateFlags): Promise<void> {
  const { prompt, input, output, raw, batchSize } = flags;
  if ((prompt === undefined) === (input === undefined))
    throw new UsageError('give either --prompt TEXT, or --input PROMPTS.jsonl with --output ANSWERS.jsonl');
  if ((input === undefined) !== (output === undefined))
    throw new UsageError('--input and --output go together');
  const display = new ProgressDisplay(process.stderr);
  const hooks = stepHooks(display);
  const generator = await openTextGenerator({ ...modelOf(flags), batchSize }, hooks).finally(() =>
    display.clear(),
  );
  try {
    const chat = !raw && generator.hasChatTemplate;
    if (prompt !== undefined) return await answerOne(generator, prompt, chat, flags);
    const options = { ...answeringOf(flags), input: input!, output: output!, chat };
    const summary = await generateFile(generator, options, hooks).finally(() => display.clear());
    const rate = (summary.tokens / Math.max(summary.seconds, 1e-3)).toFixed(1);
    process.stderr.write(
      `answered ${summary.prompts} prompts with ${summary.tokens} tokens (${rate} tok/s): ${output}\n`,
    );
  } finally {
    await generator.close();
  }
}

/** Streams the answer to stdout. */
async function answerOne(
  generator: TextGenerator,
  prompt: string,
  chat: boolean,
  flags: GenerateFlags,
): Promise<void> {
  const started = performance.now();
  const onText = (_: number, text: string): boolean => {
    process.stdout.write(text);
    return false;
  };
  const question = chat ? [{ role: 'user', content: prompt }] : prompt;
  const [answer] = await generator.answer([question], answeringOf(flags), { onText });
  process.stdout.write('\n');
  const rate = (1000 * answer!.tokens) / (performance.now() - started);
  process.stderr.write(`${answer!.tokens} tokens (${rate.toFixed(1)} tok/s), ended by ${answer!.finish}\n`);
}

export function modelOf({ model, adapter, precision }: AnsweringFlags) {
  return { model, adapter: adapter ?? null, precision };
}

export function answeringOf(flags: AnsweringFlags) {
  const { maxNewTokens, temperature, topK, topP, repetitionPenalty, stop = [], seed } = flags;
  if (stop.includes('')) throw new UsageError('--stop: the text is empty');
  return { maxNewTokens, temperature, topK, topP, repetitionPenalty, stop, seed };
}
