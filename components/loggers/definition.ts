/** The contract of a logger, which receives a run's metrics in addition to `metrics.jsonl`. */
import type { z } from 'zod';
import type { StepMetrics, TaskMetrics, ValidationMetrics } from '../../contracts/index.js';
import type { Storage } from '../../shared/storage/index.js';

/** The run whose metrics are logged. */
export interface LoggedRun {
  /** `name` of the recipe. */
  readonly name: string;
  /** Names this run and no other; the same in every process that continues it. */
  readonly id: string;
  /** The recipe as written, environment placeholders unresolved: what may be shown. */
  readonly recipe: Readonly<Record<string, unknown>>;
  /** The run's folder, on a disk or in an object store. */
  readonly storage: Storage;
  /** True when this logger has logged nothing of the run yet; false when it continues. */
  readonly isNew: boolean;
}

/** Takes metrics in the order of training. Whatever it throws stops no run: the same metrics come again later. */
export interface Logger {
  step(metrics: StepMetrics): void | Promise<void>;
  validation(metrics: ValidationMetrics): void | Promise<void>;
  tasks(metrics: TaskMetrics): void | Promise<void>;
  /** Makes durable what it was given. Only then are these metrics noted as logged. */
  flush(): Promise<void>;
  /** Ends this process's part; the run may continue in another process. */
  close(): Promise<void>;
}

/** @typeParam Options an entry of the recipe's `loggers`, validated */
export interface LoggerDefinition<Options = { name: string }> {
  /** The name that a recipe has in `loggers[].name`. */
  readonly name: string;
  /** A strict object with a literal `name`, and what can be set. */
  readonly schema: z.ZodObject;
  open(options: Options, run: LoggedRun): Promise<Logger>;
}
