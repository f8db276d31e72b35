import { z } from 'zod';

/** One line of `metrics.jsonl` for each optimizer step. */
export const stepMetricsSchema = z.strictObject({
  /** Counted from 1. */
  step: z.int().min(1),
  /** Epochs done, as a fraction. */
  epoch: z.number(),
  loss: z.number(),
  /** Before clipping. */
  grad_norm: z.number(),
  lr: z.number(),
  /** Peak resident bytes of the rank's process. */
  mem: z.int(),
  /** All tokens of the step, padding included, per second of wall time. */
  tps: z.number(),
  tps_per_device: z.number(),
  num_tokens_per_step: z.int(),
  num_label_tokens: z.int(),
  /** Seconds since 1970, UTC. */
  timestamp: z.number(),
  generation: z.int(),
});
export type StepMetrics = z.infer<typeof stepMetricsSchema>;

/** One line of `metrics.jsonl` for each validation. Named sets add `val_loss/<name>`. */
export const validationMetricsSchema = z
  .object({ step: z.int().min(0), val_loss: z.number(), timestamp: z.number(), generation: z.int() })
  .catchall(z.number());
export type ValidationMetrics = z.infer<typeof validationMetricsSchema>;

/**
 * One line of `metrics.jsonl` for each model that tasks were evaluated on: `<task>/<metric>`, `<task>/<metric>_stderr` where
 * it is known, and `<task>/n`, the number of examples.
 */
export const taskMetricsSchema = z
  .object({ step: z.int().min(0), timestamp: z.number() })
  .catchall(z.number());
export type TaskMetrics = z.infer<typeof taskMetricsSchema>;

/** Any line of `metrics.jsonl`. */
export type MetricsLine = StepMetrics | ValidationMetrics | TaskMetrics;

export const isStepMetrics = (line: MetricsLine): line is StepMetrics => 'loss' in line;

export const isValidationMetrics = (line: MetricsLine): line is ValidationMetrics => 'val_loss' in line;

/** Returns whether a line is about tasks, which are evaluated outside of generations. */
export const isTaskMetrics = (line: MetricsLine): boolean =>
  !isStepMetrics(line) && !isValidationMetrics(line);
