import { createInterface, type Interface } from 'node:readline';
import { type ChatMessage, openTextGenerator, type TextGenerator } from '../../recipes/index.js';
import { TemperError, UsageError } from '../../shared/errors.js';
import type { ChatFlags } from '../flags.js';
import { ProgressDisplay } from '../terminal/progress.js';
import { stepHooks } from '../terminal/step_progress.js';
import { answeringOf, modelOf } from './generate.js';

export async function chat(flags: ChatFlags): Promise<void> {
  const display = new ProgressDisplay(process.stderr);
  const options = { ...modelOf(flags), batchSize: 1, reusePrompts: true };
  const generator = await openTextGenerator(options, stepHooks(display)).finally(() => display.clear());
  try {
    if (!generator.hasChatTemplate)
      throw new UsageError(
        `--model ${flags.model}: has no chat template; 'temper generate --raw' goes on with a text`,
      );
    await new Conversation(generator, flags).hold();
  } finally {
    await generator.close();
  }
}

/** Lines in, answers out, and what was said so far. */
class Conversation {
  private messages: ChatMessage[] = [];
  private answering: AbortController | null = null;
  private readonly said = { answers: 0, tokens: 0, seconds: 0 };

  constructor(
    private readonly generator: TextGenerator,
    private readonly flags: ChatFlags,
  ) {
    this.reset();
  }

  async hold(): Promise<void> {
    const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
    const lines = createInterface({
      input: process.stdin,
      ...(terminal && { output: process.stdout, terminal: true }),
      prompt: '> ',
    });
    lines.on('SIGINT', () => this.interrupt(lines));
    if (terminal) {
      process.stderr.write('Ctrl-C stops an answer, Ctrl-D leaves, /reset forgets the conversation\n');
      lines.prompt();
    }
    for await (const line of lines) {
      await this.hear(line.trim());
      if (terminal) lines.prompt();
    }
    if (terminal) process.stdout.write('\n');
    const { answers, tokens, seconds } = this.said;
    const rate = (tokens / Math.max(seconds, 1e-3)).toFixed(1);
    process.stderr.write(`${answers} answers, ${tokens} tokens (${rate} tok/s)\n`);
  }

  private reset(): void {
    const { system } = this.flags;
    this.messages = system === undefined ? [] : [{ role: 'system', content: system }];
  }

  private async hear(line: string): Promise<void> {
    if (line === '') return;
    if (line === '/reset') {
      this.reset();
      process.stderr.write('the conversation is forgotten\n');
    } else if (line.startsWith('/')) {
      process.stderr.write(`${line.split(' ')[0]} is no command; there is /reset, and Ctrl-D leaves\n`);
    } else await this.answer(line);
  }

  /** What fails is told, and the conversation goes on as if the line had not been said. */
  private async answer(line: string): Promise<void> {
    const messages = [...this.messages, { role: 'user', content: line }];
    const started = performance.now();
    let text = '';
    const onText = (_: number, piece: string): boolean => {
      text += piece;
      process.stdout.write(piece);
      return false;
    };
    const onToken = (): void => {
      this.said.tokens += 1;
    };
    this.answering = new AbortController();
    try {
      const { signal } = this.answering;
      await this.generator.answer([messages], answeringOf(this.flags), { onText, onToken, signal });
    } catch (error) {
      if (!this.answering.signal.aborted) {
        if (!(error instanceof TemperError)) throw error;
        process.stderr.write(`${error.message}\n`);
        return;
      }
    } finally {
      this.answering = null;
      process.stdout.write('\n');
    }
    this.messages = [...messages, { role: 'assistant', content: text }];
    this.said.answers += 1;
    this.said.seconds += (performance.now() - started) / 1000;
  }

  private interrupt(lines: Interface): void {
    if (this.answering !== null) {
      this.answering.abort();
      return;
    }
    process.stdout.write('\n');
    lines.prompt();
  }
}
