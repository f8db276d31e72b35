/** `temper generate`: JSON lines of prompts in, JSON lines of answers out, in the same order. */
import { DataError, UsageError } from '../../../shared/errors.js';
import type { AnswerOptions, ChatMessage, Prompt } from '../../../shared/text.js';
import type { StepHooks } from '../../run/progress.js';
import { readJsonLines } from '../json_lines.js';
import { openFile } from '../open_file.js';
import type { TextGenerator } from './generate.js';

export interface GenerateFileOptions extends AnswerOptions {
  /** Files, on disk or s3://. */
  input: string;
  output: string;
  /** A "prompt" is what the user says in the model's chat template; otherwise it is a text to continue. */
  chat: boolean;
}

export interface GenerateSummary {
  prompts: number;
  /** Options of the answers. */
  tokens: number;
  seconds: number;
}

/** Prompts that are read, answered and written before the next ones are read. */
const windowSize = 512;

/**
 * Answers a file. The output appears whole or not at all. A bad line is DataError with its file and number, no input is
 * UsageError.
 */
export async function generateFile(
  generator: TextGenerator,
  options: GenerateFileOptions,
  { progress, signal }: StepHooks,
): Promise<GenerateSummary> {
  const { input, output, chat, ...answering } = options;
  const source = await openFile(input);
  if ((await source.storage.size(source.key)) === null)
    throw new UsageError(`--input ${input}: there is no such file`);
  const target = await openFile(output);
  const started = performance.now();
  const summary: GenerateSummary = { prompts: 0, tokens: 0, seconds: 0 };
  async function* lines(): AsyncGenerator<Uint8Array> {
    for await (const window of windows(source.storage.readStream(source.key), input)) {
      const prompts = window.map(({ value, location }) => parsePrompt(value, location, chat));
      requireRoom(generator, prompts, window);
      const onToken = (): void => {
        summary.tokens += 1;
        progress(null, `answered ${summary.prompts} prompts, ${summary.tokens} tokens`);
      };
      const numbered = { ...answering, firstPrompt: summary.prompts };
      const answers = await generator.answer(prompts, numbered, { onToken, signal });
      summary.prompts += answers.length;
      const texts = answers.map(({ text, finish }, i) => formatLine(window[i]!.value, text, finish));
      yield Buffer.from(texts.join(''));
    }
  }
  await target.storage.write(target.key, lines());
  summary.seconds = (performance.now() - started) / 1000;
  return summary;
}

interface Line {
  location: string;
  value: Record<string, unknown>;
}

async function* windows(chunks: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Line[]> {
  let window: Line[] = [];
  for await (const line of readJsonLines(chunks, file)) {
    window.push(line);
    if (window.length < windowSize) continue;
    yield window;
    window = [];
  }
  if (window.length > 0) yield window;
}

function parsePrompt({ prompt, messages }: Record<string, unknown>, location: string, chat: boolean): Prompt {
  if (Array.isArray(messages)) return messages.map((message) => parseMessage(message, location));
  if (typeof prompt === 'string') return chat ? [{ role: 'user', content: prompt }] : prompt;
  throw new DataError(
    `${location}: a line needs "prompt" (a string) or "messages" (a list of {"role": …, "content": …})`,
  );
}

function parseMessage(message: unknown, location: string): ChatMessage {
  const { role, content } = (message ?? {}) as Record<string, unknown>;
  if (typeof role === 'string' && typeof content === 'string') return { role, content };
  throw new DataError(
    `${location}: each of "messages" must be {"role": …, "content": …}, both strings; one is ${JSON.stringify(message)}`,
  );
}

function requireRoom(generator: TextGenerator, prompts: readonly Prompt[], window: readonly Line[]): void {
  prompts.forEach((prompt, i) => {
    const tokens = generator.encode(prompt).length;
    if (tokens === 0) throw new DataError(`${window[i]!.location}: the prompt is empty`);
    if (tokens >= generator.contextLength)
      throw new DataError(
        `${window[i]!.location}: the prompt of ${tokens} tokens leaves no room for an answer in the model's context of ${generator.contextLength}`,
      );
  });
}

/** Formats an answer next to its request; with a "prompt" the line is one that `temper score` reads. */
function formatLine(value: Record<string, unknown>, completion: string, finish: string): string {
  return `${JSON.stringify({ ...value, completion, finish })}\n`;
}
