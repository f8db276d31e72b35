import type { Progress } from '../../contracts/index.js';

/** Returns a duration as `1 h 02 min`, `3 min 20 s` or `12 s`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (hours > 0) return `${hours} h ${String(minutes).padStart(2, '0')} min`;
  return minutes > 0 ? `${minutes} min ${String(rest).padStart(2, '0')} s` : `${rest} s`;
}

const bar = (fraction: number, width: number): string => {
  const eighths = Math.round(Math.min(1, Math.max(0, fraction)) * width * 8);
  const full = '█'.repeat(Math.floor(eighths / 8));
  const part = eighths % 8 === 0 ? '' : '▏▎▍▌▋▊▉'[(eighths % 8) - 1]!;
  return (full + part).padEnd(width, '·');
};

/** Returns step, loss, tokens/s and what remains, as one line without its bar. */
export function describeProgress(progress: Progress): string {
  const parts = [`step ${progress.step}/${progress.totalSteps}`];
  if (progress.loss !== null) parts.push(`loss ${progress.loss.toFixed(4)}`);
  if (progress.valLoss !== null) parts.push(`val ${progress.valLoss.toFixed(4)}`);
  if (progress.tokensPerSecond !== null) parts.push(`${Math.round(progress.tokensPerSecond)} tok/s`);
  if (progress.eta !== null && progress.step < progress.totalSteps)
    parts.push(`${duration(progress.eta)} left`);
  if (progress.phase !== 'training') parts.push(progress.phase);
  return parts.join('  ');
}

/** Shows a run's progress: as a bar that stays on its line on a terminal, as plain lines elsewhere. */
export class ProgressDisplay {
  readonly #stream: NodeJS.WriteStream;
  readonly #live: boolean;
  readonly #interval: number;
  #shown = false;
  #lastLine = '';
  #doing = '';
  #lastAt = 0;

  /** @param interval milliseconds between plain lines where there is no terminal */
  constructor(stream: NodeJS.WriteStream, interval = 5_000) {
    this.#interval = interval;
    this.#stream = stream;
    this.#live = stream.isTTY === true && process.env.TERM !== 'dumb';
  }

  update(progress: Progress): void {
    const text = describeProgress(progress);
    if (this.#live) {
      const fraction = progress.totalSteps === 0 ? 0 : progress.step / progress.totalSteps;
      this.#stream.write(`\r\x1b[2K${bar(fraction, 24)} ${text}`.slice(0, this.#columns() + 5));
      this.#shown = true;
      return;
    }
    const now = Date.now();
    const last = progress.step === progress.totalSteps;
    if (text === this.#lastLine || (!last && now - this.#lastAt < this.#interval)) return;
    this.#lastLine = text;
    this.#lastAt = now;
    this.#stream.write(`${text}\n`);
  }

  /** Shows what is being done when there are no steps to count. */
  status(text: string): void {
    if (this.#live) {
      this.#stream.write(`\r\x1b[2K${text}`.slice(0, this.#columns() + 5));
      this.#shown = true;
      return;
    }
    // Counts are shown now and then; another activity, or another wait, is shown at once.
    const doing = text.replace(/\d+/g, '#');
    if (doing === this.#doing && Date.now() - this.#lastAt < this.#interval) return;
    this.#doing = doing;
    this.#lastAt = Date.now();
    this.#stream.write(`${text}\n`);
  }

  /** Prints a line of its own above the bar. */
  note(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }

  /** Removes the bar. */
  clear(): void {
    if (this.#shown) this.#stream.write('\r\x1b[2K');
    this.#shown = false;
  }

  #columns(): number {
    return this.#stream.columns ?? 100;
  }
}
