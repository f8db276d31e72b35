/** Evaluation: scores, and what a run keeps of them. */
import { z } from 'zod';
import { runReferenceSchema } from './finetune.js';
import { scoreSchema } from './score.js';
import { timestampSchema, uriSchema, version } from './version.js';

/** `<run>/evaluation/history.json`: the scores of every model that was evaluated, in the order in which that happened. */
export const evaluationHistorySchema = z.strictObject({
  version: version(1),
  entries: z.array(
    z.strictObject({
      /** 0: the model that training began with. */
      step: z.int().min(0),
      /** Id of the commit; null for the model that training began with. */
      commit: z.string().nullable(),
      at: timestampSchema,
      /** Scores by metric, such as `facts/valid_json`. */
      scores: z.record(z.string(), scoreSchema),
    }),
  ),
  /** Steps whose commits retention keeps: the best by a task's metric. */
  keep: z.array(z.int().min(1)),
});
export type EvaluationHistory = z.infer<typeof evaluationHistorySchema>;

/** `<run>/evaluation/<model>/<task>/shard-00000.json`: what a model did with some examples of a task. */
export const resultPartSchema = z.strictObject({
  version: version(1),
  results: z.array(
    z.strictObject({
      id: z.string(),
      scores: z.record(z.string(), z.number()),
      details: z.record(z.string(), z.unknown()),
    }),
  ),
});

/** Tasks to evaluate on one model. Results are stored in the run's folder, part by part. */
export const evaluationJobSchema = z.strictObject({
  version: version(1),
  run: runReferenceSchema,
  /** Model folder, and a PEFT adapter folder or null. */
  model: uriSchema,
  adapter: uriSchema.nullable(),
  /** Location of the results, relative to the run. */
  results: z.string(),
  /** Names of the recipe's tasks. */
  tasks: z.array(z.string()).min(1),
});
export type EvaluationJob = z.infer<typeof evaluationJobSchema>;
