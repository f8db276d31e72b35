/**
 * Gives each logger each metric of a run once, however often the run is interrupted, and however long the logger fails: it
 * gets what it has missed from `metrics.jsonl`, so nothing is kept for it in memory.
 *
 * Only metrics that a commit names are given: those of steps that will be done again are not. What a logger has taken is
 * noted in `loggers/<name>.json` of the run's folder, so that the next process gives it what is missing. Only a process
 * that is killed between a logger's `flush` and that note gives the same metrics twice.
 */
import { z } from 'zod';
import { isStepMetrics, isValidationMetrics, type MetricsLine } from '../../contracts/index.js';
import type { LoggedRun, Logger } from './definition.js';
import { loggerDefinition } from './registry.js';
import type { LoggerOptions } from './schema.js';

/** What a logger has received: steps and validations up to one, and the models whose tasks it knows, by step. */
const positionSchema = z.strictObject({
  version: z.literal(1),
  step: z.int(),
  validation: z.int(),
  tasks: z.array(z.int()),
});
type Position = z.infer<typeof positionSchema>;

const nothing: Position = { version: 1, step: 0, validation: -1, tasks: [] };

/** ms that training waits for a logger to take metrics. One that needs longer takes them while training goes on. */
const patience = 30_000;

export interface FeedOptions {
  loggers: readonly LoggerOptions[];
  run: Omit<LoggedRun, 'isNew'>;
  /** Returns the lines of the run's metrics.jsonl, for a logger that has missed some. */
  readMetrics(): Promise<readonly MetricsLine[]>;
  /** Gets what a logger threw, or that it does not answer. It is tried again with the next metrics. */
  onFailure(message: string): void;
}

export class LoggerFeed {
  readonly #fed: readonly FedLogger[];

  constructor(options: FeedOptions) {
    this.#fed = options.loggers.map((logger) => new FedLogger(logger, options));
  }

  /**
   * Gives the loggers these metrics, in their order, but for what they have taken before. Waits no longer than 30 s for them, and never
   * rejects.
   */
  async deliver(metrics: readonly MetricsLine[]): Promise<void> {
    await Promise.all(this.#fed.map((fed) => fed.deliver(metrics)));
  }

  async close(): Promise<void> {
    await Promise.all(this.#fed.map((fed) => fed.close()));
  }
}

class FedLogger {
  readonly #options: LoggerOptions;
  readonly #feed: FeedOptions;
  #logger: Logger | null = null;
  /** Up to where there are metrics for it, up to where it was given them, and up to where that is noted. */
  #offered: Position = nothing;
  #given: Position = nothing;
  #noted: Position = nothing;
  /** What it is doing: one thing at a time. */
  #work: Promise<void> = Promise.resolve();
  /** True while it takes longer than training waits. */
  #isLate = false;

  constructor(options: LoggerOptions, feed: FeedOptions) {
    this.#options = options;
    this.#feed = feed;
  }

  async deliver(metrics: readonly MetricsLine[]): Promise<void> {
    const offeredBefore = this.#offered;
    this.#offered = metrics.reduce(advance, offeredBefore);
    await this.#do(() => this.#give(metrics, offeredBefore));
  }

  async close(): Promise<void> {
    await this.#do(async () => this.#logger?.close());
  }

  /** Does this after what is under way, and waits for it. While the logger is late nothing is added, so that nothing piles up. */
  async #do(work: () => Promise<void>): Promise<void> {
    if (this.#isLate) return;
    const done = this.#work.then(() => this.#attempt(work));
    this.#work = done;
    if ((await endsWithin(done, patience)) || this.#isLate) return;
    this.#isLate = true;
    this.#warn(`it has not answered for ${patience / 1000} s; the run goes on without it until it does`);
    void this.#waitForEnd();
  }

  async #waitForEnd(): Promise<void> {
    let last: Promise<void>;
    do {
      last = this.#work;
      await last;
    } while (last !== this.#work);
    this.#isLate = false;
  }

  async #give(metrics: readonly MetricsLine[], offeredBefore: Position): Promise<void> {
    this.#logger ??= await this.#open();
    const lines = lacks(this.#given, offeredBefore) ? await this.#missedLines() : metrics;
    for (const line of lines) this.#given = await give(this.#logger, this.#given, line);
    if (this.#given === this.#noted) return;
    await this.#logger.flush();
    await this.#feed.run.storage.write(this.#noteKey, Buffer.from(JSON.stringify(this.#given)));
    this.#noted = this.#given;
  }

  /** Returns the lines that there are for it. Others that metrics.jsonl has belong to no commit yet. */
  async #missedLines(): Promise<MetricsLine[]> {
    const lines = await this.#feed.readMetrics();
    return lines.filter((line) => advance(this.#offered, line) === this.#offered);
  }

  async #open(): Promise<Logger> {
    const { run } = this.#feed;
    const isNew = (await run.storage.size(this.#noteKey)) === null;
    if (!isNew) {
      const text = (await run.storage.read(this.#noteKey)).toString('utf8');
      this.#noted = positionSchema.parse(JSON.parse(text));
      this.#given = this.#noted;
    }
    const { open } = loggerDefinition(this.#options.name);
    return open(this.#options, { ...run, isNew });
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#warn(error instanceof Error ? error.message : String(error));
    }
  }

  #warn(message: string): void {
    this.#feed.onFailure(`logger '${this.#options.name}': ${message}`);
  }

  get #noteKey(): string {
    return `loggers/${this.#options.name}.json`;
  }
}

/** Gives a logger what it has not taken. Returns where it then is; the same position where it has all. */
async function give(logger: Logger, position: Position, metrics: MetricsLine): Promise<Position> {
  const next = advance(position, metrics);
  if (next === position) return position;
  if (isStepMetrics(metrics)) await logger.step(metrics);
  else if (isValidationMetrics(metrics)) await logger.validation(metrics);
  else await logger.tasks(metrics);
  return next;
}

/** Returns the position that these metrics lead to; the same one where they come before it. */
function advance(position: Position, metrics: MetricsLine): Position {
  const { step } = metrics;
  if (isStepMetrics(metrics)) return step <= position.step ? position : { ...position, step };
  if (isValidationMetrics(metrics))
    return step <= position.validation ? position : { ...position, validation: step };
  return position.tasks.includes(step) ? position : { ...position, tasks: [...position.tasks, step] };
}

/** Returns whether something of `offered` is missing in `position`. */
const lacks = (position: Position, offered: Position): boolean =>
  position.step < offered.step ||
  position.validation < offered.validation ||
  offered.tasks.some((step) => !position.tasks.includes(step));

/** Returns whether a promise that never rejects resolves within so many ms. */
async function endsWithin(promise: Promise<void>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | null = null;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer!);
  }
}
