/** The recipe's `data` section. */
import { z } from 'zod';
import type { LongDocuments } from './definition.js';
import { datasetDefinitions } from './registry.js';

/** One dataset of one type. The keys beyond these are its type's own. */
export interface SingleDataset {
  dataset_type: string;
  long_documents?: LongDocuments;
  [key: string]: unknown;
}

export interface MixtureDataset {
  dataset_type: 'mixture';
  datasets: { weight: number; dataset: SingleDataset }[];
  stop: 'first_exhausted' | 'all_exhausted';
}

export type Dataset = SingleDataset | MixtureDataset;

export const isMixture = (dataset: Dataset): dataset is MixtureDataset => dataset.dataset_type === 'mixture';

/** Returns the schema of one dataset, of any registered type or a mixture of them. */
export function datasetSchema(): z.ZodType<Dataset> {
  const singles = datasetDefinitions().map((definition) => definition.schema) as unknown as [
    z.ZodObject,
    ...z.ZodObject[],
  ];
  const single = z.discriminatedUnion('dataset_type', singles);
  const mixture = z
    .strictObject({
      dataset_type: z.literal('mixture'),
      datasets: z
        .array(
          z.strictObject({ weight: z.number().positive().describe('share of documents'), dataset: single }),
        )
        .min(1),
      stop: z
        .enum(['first_exhausted', 'all_exhausted'])
        .default('first_exhausted')
        .describe(
          'end when one dataset has no more documents, or repeat datasets until all have been used up',
        ),
    })
    .describe('documents of several datasets, interleaved by weight');
  return z.discriminatedUnion('dataset_type', [...singles, mixture]) as unknown as z.ZodType<Dataset>;
}

/** Schema of the section `data`. The datasets are looked up when it is first used, so that registered ones are in it. */
export const dataSchema = z.strictObject({
  get train(): z.ZodType<Dataset> {
    return datasetSchema().describe('the training data');
  },
  get validation(): z.ZodDefault<z.ZodNullable<z.ZodType<Dataset | Record<string, Dataset>>>> {
    const dataset = datasetSchema();
    const named = z.record(z.string().regex(/^[A-Za-z0-9_-]+$/), dataset);
    return z.union([dataset, named]).nullable().default(null).describe('one dataset, or several by name');
  },
  packed_sequence_size: z
    .int()
    .min(2)
    .max(1 << 24)
    .default(1024)
    .describe('tokens of a pack'),
  batch_size: z
    .strictObject({
      global: z.int().min(1).default(8).describe('packs of an optimizer step, over all ranks'),
      micro: z.int().min(1).default(1).describe('packs a rank runs at a time'),
    })
    .prefault({}),
});

export type DataOptions = z.output<typeof dataSchema>;

/** Returns the validation sets by name; one without a name is called `validation`. */
export function validationSets(data: Pick<DataOptions, 'validation'>): Record<string, Dataset> {
  const { validation } = data;
  if (validation === null) return {};
  const isOne = typeof (validation as { dataset_type?: unknown }).dataset_type === 'string';
  return isOne ? { validation: validation as Dataset } : (validation as Record<string, Dataset>);
}
