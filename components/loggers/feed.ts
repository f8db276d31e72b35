/**
 * Gives each logger each metric of a run once, however often the run is interrupted.
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

export interface FeedOptions {
  loggers: readonly LoggerOptions[];
  run: Omit<LoggedRun, 'isNew'>;
  /** Gets what a logger threw. It is tried again with the next metrics. */
  onFailure(message: string): void;
}

export class LoggerFeed {
  readonly #fed: readonly FedLogger[];

  constructor({ loggers, run, onFailure }: FeedOptions) {
    this.#fed = loggers.map((options) => new FedLogger(options, run, onFailure));
  }

  /** Gives the loggers these metrics, in their order, but for what they have taken before. Never rejects. */
  async deliver(metrics: readonly MetricsLine[]): Promise<void> {
    await Promise.all(this.#fed.map((fed) => fed.deliver(metrics)));
  }

  async close(): Promise<void> {
    await Promise.all(this.#fed.map((fed) => fed.close()));
  }
}

class FedLogger {
  readonly #options: LoggerOptions;
  readonly #run: FeedOptions['run'];
  readonly #onFailure: FeedOptions['onFailure'];
  #logger: Logger | null = null;
  /** Up to where it was given metrics, and up to where that is noted. */
  #given: Position = nothing;
  #noted: Position = nothing;
  /** Lines that it could not receive yet. */
  #waiting: MetricsLine[] = [];
  /** The delivery under way: one at a time. */
  #work: Promise<void> = Promise.resolve();

  constructor(options: LoggerOptions, run: FeedOptions['run'], onFailure: FeedOptions['onFailure']) {
    this.#options = options;
    this.#run = run;
    this.#onFailure = onFailure;
  }

  deliver(metrics: readonly MetricsLine[]): Promise<void> {
    this.#work = this.#work.then(() =>
      this.#attempt(async () => {
        this.#waiting = [...this.#waiting, ...metrics];
        await this.#give();
      }),
    );
    return this.#work;
  }

  async close(): Promise<void> {
    await this.#work;
    await this.#attempt(async () => this.#logger?.close());
  }

  async #give(): Promise<void> {
    this.#logger ??= await this.#open();
    for (const metrics of this.#waiting) this.#given = await give(this.#logger, this.#given, metrics);
    this.#waiting = [];
    if (this.#given === this.#noted) return;
    await this.#logger.flush();
    await this.#run.storage.write(this.#noteKey, Buffer.from(JSON.stringify(this.#given)));
    this.#noted = this.#given;
  }

  async #open(): Promise<Logger> {
    const { storage } = this.#run;
    const isNew = (await storage.size(this.#noteKey)) === null;
    if (!isNew) {
      const text = (await storage.read(this.#noteKey)).toString('utf8');
      this.#noted = positionSchema.parse(JSON.parse(text));
      this.#given = this.#noted;
    }
    const { open } = loggerDefinition(this.#options.name);
    return open(this.#options, { ...this.#run, isNew });
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#onFailure(`logger '${this.#options.name}': ${error instanceof Error ? error.message : error}`);
    }
  }

  get #noteKey(): string {
    return `loggers/${this.#options.name}.json`;
  }
}

/** Gives a logger what it has not taken. Returns where it then is; the same position where it has all. */
async function give(logger: Logger, position: Position, metrics: MetricsLine): Promise<Position> {
  const { step } = metrics;
  if (isStepMetrics(metrics)) {
    if (step <= position.step) return position;
    await logger.step(metrics);
    return { ...position, step };
  }
  if (isValidationMetrics(metrics)) {
    if (step <= position.validation) return position;
    await logger.validation(metrics);
    return { ...position, validation: step };
  }
  if (position.tasks.includes(step)) return position;
  await logger.tasks(metrics);
  return { ...position, tasks: [...position.tasks, step] };
}
