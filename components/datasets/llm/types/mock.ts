/** Random tokens, for measurements and for tests of everything but the data. */
import { z } from 'zod';
import { DataError } from '../../../../shared/errors.js';
import type { Document } from '../documents/document.js';
import { hashWords, uniform } from '../documents/random.js';
import { type DatasetContext, type DatasetDefinition, lengthKeys } from './definition.js';

const randomKeys = {
  seed: z.int().min(0).default(0).describe('random seed for the tokens'),
  vocabulary_size: z
    .int()
    .min(2)
    .nullable()
    .default(null)
    .describe("ids are drawn below this; null: the model's"),
};

const mockSchema = z
  .strictObject({
    dataset_type: z.literal('mock'),
    documents: z.int().min(1).default(1000).describe('number of documents'),
    lengths: z
      .strictObject({
        distribution: z
          .enum(['uniform', 'log_uniform'])
          .default('uniform')
          .describe('mean length; between min and max'),
        min: z.int().min(2).default(16).describe('tokens of the shortest document'),
        max: z.int().min(2).default(512).describe('tokens of the longest document'),
      })
      .refine(({ min, max }) => min <= max, 'min may not be larger than max')
      .prefault({})
      .describe('tokens of a document'),
    ...randomKeys,
    ...lengthKeys('truncate'),
  })
  .describe('documents of random tokens and random lengths');

export const mock: DatasetDefinition<z.output<typeof mockSchema>> = {
  type: 'mock',
  schema: mockSchema,
  needsTokenizer: false,
  source: { kind: 'generated', rows: ({ documents }) => documents },
  convert(row, { seed, lengths, vocabulary_size: size }, context): Document[] {
    const { min, max, distribution } = lengths;
    const u = uniform(seed, row.index, 0xffff_ffff);
    const length = distribution === 'uniform' ? min + u * (max - min + 1) : min * ((max + 1) / min) ** u;
    return [randomDocument(seed, row.index, Math.min(max, Math.floor(length)), vocabulary(size, context))];
  },
};

const mockPackedSchema = z
  .strictObject({
    dataset_type: z.literal('mock_packed'),
    packs: z.int().min(1).default(1000).describe('number of packs'),
    ...randomKeys,
  })
  .describe('full packs: each one document of exactly packed_sequence_size random tokens');

export const mockPacked: DatasetDefinition<z.output<typeof mockPackedSchema>> = {
  type: 'mock_packed',
  schema: mockPackedSchema,
  needsTokenizer: false,
  source: { kind: 'generated', rows: ({ packs }) => packs },
  convert(row, { seed, vocabulary_size: size }, context): Document[] {
    return [randomDocument(seed, row.index, context.packedSequenceSize, vocabulary(size, context))];
  },
};

function vocabulary(declaredSize: number | null, { vocabularySize }: DatasetContext): number {
  const size = declaredSize ?? vocabularySize;
  if (size === null)
    throw new DataError("mock data needs 'vocabulary_size' when there is no model to take it from");
  if (vocabularySize !== null && size > vocabularySize) {
    throw new DataError(
      `mock data draws ids below ${size}, and the model's vocabulary has ${vocabularySize} entries`,
    );
  }
  return size;
}

function randomDocument(seed: number, index: number, length: number, size: number): Document {
  const ids = Int32Array.from({ length }, (_, position) => hashWords(seed, index, position) % size);
  return { ids, labels: ids.slice() };
}
