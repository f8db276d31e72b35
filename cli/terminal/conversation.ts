/** A conversation in the terminal, or line by line from a pipe. */
import { createInterface, type Interface } from 'node:readline';
import type { AnswerOptions, ChatMessage, TextGenerator } from '../../recipes/index.js';
import { TemperError } from '../../shared/errors.js';

/** Reads lines, answers each, and remembers the conversation. */
export class Conversation {
  readonly #generator: TextGenerator;
  readonly #options: AnswerOptions;
  /** The system prompt; null for none. */
  readonly #system: string | null;
  readonly #totals = { answers: 0, tokens: 0, seconds: 0 };
  #messages: ChatMessage[] = [];
  #answering: AbortController | null = null;

  constructor(generator: TextGenerator, options: AnswerOptions, system: string | null) {
    this.#generator = generator;
    this.#options = options;
    this.#system = system;
    this.#reset();
  }

  /** Resolves when the input ends. */
  async hold(): Promise<void> {
    const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
    const lines = createInterface({
      input: process.stdin,
      ...(terminal && { output: process.stdout, terminal: true }),
      prompt: '> ',
    });
    lines.on('SIGINT', () => this.#interrupt(lines));
    if (terminal) {
      process.stderr.write('Ctrl-C stops an answer, Ctrl-D leaves, /reset clears the conversation\n');
      lines.prompt();
    }
    for await (const line of lines) {
      await this.#handleLine(line.trim());
      if (terminal) lines.prompt();
    }
    if (terminal) process.stdout.write('\n');
    const { answers, tokens, seconds } = this.#totals;
    const rate = (tokens / Math.max(seconds, 1e-3)).toFixed(1);
    process.stderr.write(`${answers} answers, ${tokens} tokens (${rate} tok/s)\n`);
  }

  #reset(): void {
    this.#messages = this.#system === null ? [] : [{ role: 'system', content: this.#system }];
  }

  async #handleLine(line: string): Promise<void> {
    if (line === '') return;
    if (line === '/reset') {
      this.#reset();
      process.stderr.write('conversation cleared\n');
    } else if (line.startsWith('/')) {
      process.stderr.write(
        `${line.split(' ')[0]} is not a command; /reset clears the conversation, Ctrl-D leaves\n`,
      );
    } else await this.#answer(line);
  }

  /** Prints a failure; the conversation then continues without the line that caused it. */
  async #answer(line: string): Promise<void> {
    const messages = [...this.#messages, { role: 'user', content: line }];
    const started = performance.now();
    let text = '';
    const onText = (_: number, piece: string): boolean => {
      text += piece;
      process.stdout.write(piece);
      return false;
    };
    const onToken = (): void => {
      this.#totals.tokens += 1;
    };
    this.#answering = new AbortController();
    try {
      const { signal } = this.#answering;
      await this.#generator.answer([messages], this.#options, { onText, onToken, signal });
    } catch (error) {
      if (!this.#answering.signal.aborted) {
        if (!(error instanceof TemperError)) throw error;
        process.stderr.write(`${error.message}\n`);
        return;
      }
    } finally {
      this.#answering = null;
      process.stdout.write('\n');
    }
    this.#messages = [...messages, { role: 'assistant', content: text }];
    this.#totals.answers += 1;
    this.#totals.seconds += (performance.now() - started) / 1000;
  }

  #interrupt(lines: Interface): void {
    if (this.#answering !== null) {
      this.#answering.abort();
      return;
    }
    process.stdout.write('\n');
    lines.prompt();
  }
}
