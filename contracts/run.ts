import { z } from 'zod';
import { finetuneResultSchema } from './finetune.js';
import { sha256Schema, timestampSchema, uriSchema, version } from './version.js';

/** `<output_dir>/run.json`: who owns the folder and how far the run came. */
export const runDocumentSchema = z.strictObject({
  version: version(1),
  run: z.string().min(1),
  recipeDigest: sha256Schema,
  state: z.enum(['running', 'completed', 'stopped', 'failed']),
  /** The workflow that drives it, for a person who looks. */
  workflow: z.strictObject({ namespace: z.string(), workflowId: z.string(), runId: z.string() }).nullable(),
  startedAt: timestampSchema,
  updatedAt: timestampSchema,
  /** Present once completed or stopped. */
  result: finetuneResultSchema.nullable(),
  /** The last failure's message, when `state` is failed. */
  failure: z.string().nullable(),
});
export type RunDocument = z.infer<typeof runDocumentSchema>;

/** `<output_dir>/recipe.json`: the recipe as admitted, environment placeholders unresolved. */
export const storedRecipeSchema = z.strictObject({
  version: version(1),
  digest: sha256Schema,
  /** The folder in which its relative paths start. */
  base: uriSchema,
  recipe: z.record(z.string(), z.unknown()),
});
export type StoredRecipe = z.infer<typeof storedRecipeSchema>;
