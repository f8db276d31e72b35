import type { TextGenerator } from '../../recipes/index.js';
import { command } from '../command/define.js';
import { type GenerationFlags, generationFlags, optionalText, wholeNumber } from '../command/flags.js';
import { generationOptions, modelOptions } from '../command/generation.js';
import { ProgressDisplay, stepHooks } from '../terminal/index.js';

interface Flags extends GenerationFlags {
  prompt?: string;
  input?: string;
  output?: string;
  raw: boolean;
  batchSize: number;
}

export const generate = command<Flags>({
  docs: {
    brief: 'Answer a prompt, or a file of prompts',
    fullDescription:
      'Answers a prompt, or a file of prompts, with the model exported to ONNX and run by ONNX Runtime. A prompt is put\n' +
      "into the model's chat template where it has one; --raw leaves it unchanged. The export is kept in the cache.",
  },
  flags: {
    ...generationFlags,
    prompt: optionalText('one prompt; its answer is streamed'),
    input: optionalText('JSON lines with prompt, or messages ({"role": …, "content": …})'),
    output: optionalText('JSON lines with completion and finish'),
    raw: { kind: 'boolean', brief: 'continue the text as it is, without a chat template', default: false },
    batchSize: { kind: 'parsed', parse: wholeNumber(1), brief: 'prompts answered together', default: '16' },
  },
  async run(flags) {
    const { generateFile, openTextGenerator } = await import('../../recipes/index.js');
    const { prompt, input, output, raw, batchSize } = flags;
    await checkFiles(flags);
    const display = new ProgressDisplay(process.stderr);
    const hooks = stepHooks(display);
    const options = { ...modelOptions(flags), batchSize };
    const generator = await openTextGenerator(options, hooks).finally(() => display.clear());
    try {
      const chat = !raw && generator.hasChatTemplate;
      if (prompt !== undefined) return await answerOne(generator, prompt, chat, flags);
      const files = { ...generationOptions(flags), input: input!, output: output!, chat };
      const summary = await generateFile(generator, files, hooks).finally(() => display.clear());
      const rate = (summary.tokens / Math.max(summary.seconds, 1e-3)).toFixed(1);
      process.stderr.write(
        `answered ${summary.prompts} prompts with ${summary.tokens} tokens (${rate} tok/s): ${output}\n`,
      );
    } finally {
      await generator.close();
    }
  },
});

async function checkFiles({ prompt, input, output }: Flags): Promise<void> {
  const { UsageError } = await import('../../shared/errors.js');
  if ((prompt === undefined) === (input === undefined))
    throw new UsageError('give either --prompt TEXT, or --input PROMPTS.jsonl with --output ANSWERS.jsonl');
  if ((input === undefined) !== (output === undefined))
    throw new UsageError('--input and --output go together');
}

/** Streams the answer to stdout. */
async function answerOne(
  generator: TextGenerator,
  prompt: string,
  chat: boolean,
  flags: Flags,
): Promise<void> {
  const started = performance.now();
  const onText = (_: number, text: string): boolean => {
    process.stdout.write(text);
    return false;
  };
  const question = chat ? [{ role: 'user', content: prompt }] : prompt;
  const [answer] = await generator.answer([question], generationOptions(flags), { onText });
  process.stdout.write('\n');
  const rate = (1000 * answer!.tokens) / (performance.now() - started);
  process.stderr.write(`${answer!.tokens} tokens (${rate.toFixed(1)} tok/s), ended by ${answer!.finish}\n`);
}
