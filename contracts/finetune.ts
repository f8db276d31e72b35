import { z } from 'zod';
import { scoreSchema } from './score.js';
import { interruptionCountsSchema, timelineSchema } from './timeline.js';
import { sha256Schema, timestampSchema, uriSchema, version } from './version.js';

/**
 * The argument of the `finetune` workflow: the recipe itself as an object, or a reference to one. Temper's own client
 * sends the first form of `submission`, which also says whose file the recipe was and whether to start over.
 */
export const submissionSchema = z.strictObject({
  version: version(1),
  /** The recipe as parsed, references and environment placeholders unresolved. */
  recipe: z.record(z.string(), z.unknown()),
  /** The folder in which paths in the recipe start; null: the worker's first root. */
  base: uriSchema.nullable(),
  /** Pool that serves the run in place of the recipe's; null: the recipe's. */
  pool: z.string().min(1).nullable(),
  /** Start over although the run's folder holds a completed or resumable run. */
  fresh: z.boolean(),
  /** Take the run over although another server's workflow drives it. */
  takeOver: z.boolean().default(false),
});
export type Submission = z.infer<typeof submissionSchema>;

export const recipeReferenceSchema = z.strictObject({ recipe: uriSchema });

/** The identity of a run, made by `admit`. Travels through the workflow to every activity. */
export const runReferenceSchema = z.strictObject({
  version: version(1),
  /** The workflow's id. */
  id: z.string().min(1),
  outputDir: uriSchema,
  /** sha256 of the canonical recipe; the recipe is at `<outputDir>/recipe.json`. */
  recipeDigest: sha256Schema,
});
export type RunReference = z.infer<typeof runReferenceSchema>;

export const admittedSchema = z.strictObject({
  run: runReferenceSchema,
  /** Model name as the recipe gives it, for search attributes and summaries. */
  model: z.string(),
  epochs: z.int().min(1),
  /** Pool whose hosts may serve the run. */
  pool: z.string(),
  /** True when tasks are evaluated after each epoch. */
  evaluatesEpochs: z.boolean(),
  /** Whole result of an already completed run: nothing is left to do. */
  completed: z.unknown().nullable(),
});
export type Admitted = z.infer<typeof admittedSchema>;

export const dataReportSchema = z.strictObject({
  documents: z.int(),
  tokens: z.int(),
  supervisedTokens: z.int(),
  truncated: z.int(),
  split: z.int(),
  dropped: z.int(),
  packs: z.int(),
  /** Tokens ÷ (packs × packed sequence size). */
  packingEfficiency: z.number(),
  seconds: z.number(),
});
export type DataReport = z.infer<typeof dataReportSchema>;

export const preparedDataSchema = z.strictObject({
  /** Folder that holds `index.json`. */
  train: uriSchema,
  /** Validation sets by name; `validation` when the recipe has one without a name. */
  validation: z.record(z.string(), uriSchema),
  report: z.record(z.string(), dataReportSchema),
});
export type PreparedData = z.infer<typeof preparedDataSchema>;

export const memoryForecastSchema = z.strictObject({
  /** Bytes per rank. */
  weights: z.int(),
  trained: z.int(),
  gradients: z.int(),
  optimizer: z.int(),
  arena: z.int(),
  workspace: z.int(),
  snapshot: z.int(),
  total: z.int(),
});
export type MemoryForecast = z.infer<typeof memoryForecastSchema>;

export const verifiedModelSchema = z.strictObject({
  /** Verified folder: config.json, tokenizer, safetensors. */
  folder: uriSchema,
  digest: sha256Schema,
  parameters: z.int(),
  trainedParameters: z.int(),
  memory: memoryForecastSchema,
});
export type VerifiedModel = z.infer<typeof verifiedModelSchema>;

/** Scores of a run by name (`val_loss`, `perplexity`, `facts/valid_json` …), before and after training. */
export const evaluationSchema = z.strictObject({
  before: z.record(z.string(), z.number()),
  after: z.record(z.string(), z.number()),
  /** Those of tasks, with their standard errors and numbers of examples. */
  scores: z.strictObject({
    before: z.record(z.string(), scoreSchema),
    after: z.record(z.string(), scoreSchema),
  }),
  /** Sequence number of the commit that was judged the best, and so published. */
  commit: z.int(),
  step: z.int(),
  /** A line for each damage of the checkpoints that were passed over: file, tensor and commit. */
  damage: z.array(z.string()),
});
export type Evaluation = z.infer<typeof evaluationSchema>;

export const finetuneResultSchema = z.strictObject({
  version: version(1),
  run: z.string(),
  state: z.enum(['completed', 'stopped']),
  /** The Hugging Face folder. */
  model: uriSchema,
  /** Folder, prefix or page of the hub's repository where `export.publish_to` put it; null when it names none. */
  published: z.string().nullable().default(null),
  outputDir: uriSchema,
  recipeDigest: sha256Schema,
  steps: z.int(),
  epochs: z.number(),
  metrics: z.record(z.string(), z.number()),
  evaluation: evaluationSchema.nullable(),
  data: z.record(z.string(), dataReportSchema),
  /** The newest entries; all of them are in `timelineUri`. */
  timeline: timelineSchema,
  /** Folder of JSON Lines files whose names sort by time. */
  timelineUri: uriSchema,
  interruptions: interruptionCountsSchema,
  startedAt: timestampSchema,
  finishedAt: timestampSchema,
});
export type FinetuneResult = z.infer<typeof finetuneResultSchema>;
