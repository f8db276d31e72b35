/** The interface of a task, and all that it can use: rows to read, and a model that scores and answers. */
import type { z } from 'zod';
import { DataError } from '../../../shared/errors.js';
import type { AnswerOptions, Prompt } from '../../../shared/text.js';

export interface Likelihood {
  /** Σ log p of the scored tokens, natural logarithm. */
  logprob: number;
  tokens: number;
}

/** A model under evaluation. Recipes implement it on the engine and on ONNX Runtime; a test may do so by hand. */
export interface EvaluatedModel {
  readonly hasChatTemplate: boolean;
  /** log p(continuation | context), split into tokens as lm-evaluation-harness does. */
  loglikelihoods(pairs: readonly { context: string; continuation: string }[]): Promise<Likelihood[]>;
  /** log p(text), in windows of the model's context where it is longer (lm-evaluation-harness' `loglikelihood_rolling`). */
  rollingLoglikelihoods(texts: readonly string[]): Promise<Likelihood[]>;
  /** Answers without special tokens. */
  generate(prompts: readonly Prompt[], options: AnswerOptions): Promise<string[]>;
}

/** A row of a file; `location` is `line 7` or `row 7`, for errors. */
export interface TaskRow {
  location: string;
  value: unknown;
}

export interface RowRequest {
  path: string | readonly string[];
  /** The most rows to read; null for all. */
  limit: number | null;
  /** Unit of a text file that is one row. */
  textUnit: 'file' | 'paragraph' | 'line';
}

/**
 * Reads files of any kind that datasets come in.
 * @throws DataError
 */
export type RowReader = (request: RowRequest) => AsyncIterable<TaskRow>;

/** A model's result for one example. Everything is JSON. */
export interface ExampleResult {
  id: string;
  /** Scores by metric: 0 or 1, or any number. */
  scores: Record<string, number>;
  /** Details for a human reader: the prompt, the answer, log-probabilities. */
  details: Record<string, unknown>;
}

/** A metric over examples. */
export interface Estimate {
  value: number;
  /** Standard error; null when a single example leaves it unknown. */
  stderr: number | null;
  /** Examples that it is over. */
  n: number;
}

export type Direction = 'higher' | 'lower';

/** The keys that recipes give each task in addition to its own options. */
export interface TaskOptions {
  task: string;
  [key: string]: unknown;
}

/**
 * A task: one file, looked up by name. `examples` must depend only on options and rows, and be JSON: its digest
 * says whether a result that is already there is still the right one.
 */
export interface TaskDefinition<Options = TaskOptions, Example = unknown> {
  /** `task` in the recipe. */
  readonly task: string;
  /** Strict object with a literal `task`. */
  readonly schema: z.ZodObject;
  readonly needs: 'likelihood' | 'generation';
  /** Examples that are evaluated and stored together: what a kill costs at most. */
  readonly partSize: number;
  /** Direction in which a metric is better; null when the task has no such metric. */
  direction(metric: string): Direction | null;
  /** The metrics, in words, for errors and help. */
  readonly metrics: string;
  examples(options: Options, read: RowReader): Promise<Example[]>;
  /** One result for each example, in their order. */
  evaluate(examples: readonly Example[], options: Options, model: EvaluatedModel): Promise<ExampleResult[]>;
  aggregate(results: readonly ExampleResult[]): Record<string, Estimate>;
}

/** Returns the error of a row that cannot be an example, with its location. */
export function rowError(path: string | readonly string[], row: TaskRow, message: string): DataError {
  return new DataError(`${typeof path === 'string' ? path : path.join(', ')}: ${row.location}: ${message}`);
}
