import { z } from 'zod';
import { checkpointSchema } from '../../components/checkpoint/index.js';
import { type DataOptions, dataSchema, validationSets } from '../../components/datasets/llm/index.js';
import { evaluationSchema, isValidationMetric, watchedProblem } from '../../components/evaluation/index.js';
import { type LoggerOptions, loggersSchema } from '../../components/loggers/index.js';
import { type Loss, lossSchema } from '../../components/loss/index.js';
import { modelSchema } from '../../components/models/index.js';
import { lrSchedulerSchema, type Optimizer, optimizerSchema } from '../../components/optim/index.js';
import { peftSchema } from '../../components/peft/index.js';
import { loopKeys } from '../../components/training/index.js';
import { publishLocationProblem } from './publish_location.js';

/** Optimizers and losses are looked up when it is first used, so that registered ones are in it. */
const trainingSchema = z.strictObject({
  get optimizer(): z.ZodPrefault<z.ZodType<Optimizer>> {
    return optimizerSchema()
      .prefault({ name: 'adamw' })
      .describe('the algorithm that turns gradients into updates');
  },
  learning_rate: z.number().positive().default(2e-4).describe('peak learning rate'),
  lr_scheduler: lrSchedulerSchema.prefault({ name: 'constant' }).describe('the learning rate over steps'),
  get loss(): z.ZodDefault<z.ZodType<Loss>> {
    return lossSchema()
      .default('linear_ce')
      .describe('masked_ce and chunked_ce hold the logits; linear_ce never does');
  },
  ...loopKeys,
});

const exportSchema = z.strictObject({
  merge_adapter: z
    .boolean()
    .default(false)
    .describe('publish the merged model as well, in <output_dir>/merged'),
  onnx: z
    .enum(['fp32', 'fp16'])
    .nullable()
    .default(null)
    .describe(
      'write <output_dir>/onnx as well: the model (an adapter merged in) for ONNX Runtime, compared with the engine',
    ),
  publish_to: z
    .string()
    .superRefine((text, context) => {
      const problem = publishLocationProblem(text);
      if (problem !== null) context.addIssue({ code: 'custom', message: problem });
    })
    .nullable()
    .default(null)
    .meta({ 'x-temper-path': 'folder' })
    .describe(
      'publish final/ (merged/ where there is one) and onnx/ as one folder elsewhere: a folder, s3://bucket/prefix or hf://owner/name[@branch] (HF_TOKEN)',
    ),
});

const sections = z.strictObject({
  kind: z.literal('llm').default('llm').describe('kind of model to train: a language model'),
  name: z
    .string()
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
      'letters, digits, ".", "_" and "-", starting with a letter or digit',
    )
    .describe('name of the run, and its workflow id unless --id says otherwise'),
  seed: z
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .default(1111)
    .describe('random seed for data order, dropout and adapter initialization'),
  model: modelSchema,
  peft: peftSchema.nullable().default(null).describe('left out: every parameter is trained'),
  data: dataSchema,
  training: trainingSchema.prefault({}),
  checkpoint: checkpointSchema.prefault({}),
  evaluation: evaluationSchema.prefault({}),
  export: exportSchema.prefault({}),
  get loggers(): z.ZodDefault<z.ZodType<LoggerOptions[]>> {
    return loggersSchema()
      .default([])
      .describe('loggers that receive the metrics in addition to metrics.jsonl');
  },
  pool: z
    .string()
    .regex(/^[A-Za-z0-9_-]+$/)
    .default('default')
    .describe('pool of hosts that may serve the run'),
  output_dir: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .meta({ 'x-temper-path': 'folder' })
    .describe(
      'folder or s3:// prefix that the run owns, e.g. runs/${run} with the id of each run; left out: runs/<name> next to the recipe',
    ),
});

/** The recipe of a language-model run: DESIGN's shape, each key with what it does. */
export const recipeSchema = sections.superRefine(({ training, evaluation, data }, context) => {
  const issue = (path: string[], problem: string | null) => {
    if (problem !== null) context.addIssue({ code: 'custom', path, message: problem });
  };
  const { load_best, metric, require, tasks } = evaluation;
  if (load_best) issue(['evaluation', 'metric'], lossProblem(metric, data));
  for (const name of Object.keys(require)) issue(['evaluation', 'require', name], lossProblem(name, data));
  const rule = training.early_stopping;
  if (rule === null) return;
  const key = ['training', 'early_stopping', 'metric'];
  issue(key, watchedProblem(rule.metric, tasks) ?? lossProblem(rule.metric, data));
  if (load_best && metric !== rule.metric && [metric, rule.metric].every(isValidationMetric))
    issue(key, `one validation loss is watched in a run: make it evaluation.metric, '${metric}', as well`);
});
export type Recipe = z.output<typeof recipeSchema>;

/** The top-level keys that a recipe's author may write. */
export const recipeKeys: readonly string[] = ['extends', ...Object.keys(sections.shape)];

/** Returns the validation loss that a run watches while it trains. */
export function watchedLoss({ training, evaluation }: Pick<Recipe, 'training' | 'evaluation'>): string {
  const candidates = [training.early_stopping?.metric, evaluation.load_best ? evaluation.metric : undefined];
  return candidates.find((metric) => metric !== undefined && isValidationMetric(metric)) ?? 'val_loss';
}

/** Returns why no validation gives this loss; null when one does, and for metrics that are not losses. */
function lossProblem(metric: string, data: Pick<DataOptions, 'validation'>): string | null {
  if (!isValidationMetric(metric) && metric !== 'perplexity') return null;
  const sets = Object.keys(validationSets(data));
  if (sets.length === 0) return `'${metric}' is measured on data.validation, and the recipe has none`;
  const setMetrics = sets.length === 1 ? [] : sets.map((name) => `val_loss/${name}`);
  if (!metric.startsWith('val_loss/') || setMetrics.includes(metric)) return null;
  return `there is no '${metric}'; there are ${['val_loss', ...setMetrics].join(', ')}`;
}
