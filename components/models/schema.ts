import { z } from 'zod';

/** `model`: which weights a run starts from. */
export const modelSchema = z.strictObject({
  name: z
    .string()
    .min(1)
    .meta({ 'x-temper-path': 'model' })
    .describe(
      'a Hugging Face id such as HuggingFaceTB/SmolLM2-135M-Instruct, a model folder, or a .gguf file',
    ),
  revision: z
    .string()
    .min(1)
    .default('main')
    .describe('branch, tag or commit of a Hugging Face id; a run keeps the commit that it started with'),
  config_overrides: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('keys of config.json to replace, e.g. {rope_parameters: {…}}'),
});
export type ModelOptions = z.infer<typeof modelSchema>;
