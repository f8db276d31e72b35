import { z } from 'zod';

/** `peft`: an adapter is trained and the model stays as it is. */
export const peftSchema = z.strictObject({
  type: z.literal('lora'),
  rank: z.int().min(1).default(16).describe('R: columns of the low-rank update'),
  alpha: z.number().positive().default(32).describe('scale of the update, which is alpha ÷ rank'),
  rslora: z.boolean().default(false).describe('scale by alpha ÷ √rank instead (rank-stabilized LoRA)'),
  dropout: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe("probability that an element of the adapter's input is dropped"),
  target_modules: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .default(['*_proj'])
    .describe('"all-linear", or names, globs and /regular expressions/ of linear modules'),
  init: z
    .enum(['kaiming', 'gaussian'])
    .default('kaiming')
    .describe('initial A: uniform in ±1/√in, or normal with deviation 1/rank; B starts at zero'),
  init_from: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .meta({ 'x-temper-path': 'folder' })
    .describe('folder of an adapter to continue training; its rank and modules must equal these'),
});
export type PeftOptions = z.infer<typeof peftSchema>;
