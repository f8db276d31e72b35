import { z } from 'zod';
import { dataReportSchema } from './finetune.js';
import { sha256Schema, version } from './version.js';

/** A file of packs: little-endian int32, memory-mappable. */
export const packFileSchema = z.strictObject({
  file: z.string(),
  bytes: z.int(),
  /** Number of the file's first pack, and how many it has. */
  firstPack: z.int().min(0),
  packs: z.int().min(1),
});

/** `index.json` next to the pack files of one prepared dataset. */
export const packIndexSchema = z.strictObject({
  version: version(1),
  packedSequenceSize: z.int().min(2),
  shards: z.array(packFileSchema),
  packs: z.int().min(1),
  /** Per pack: supervised tokens (targets within a document), so that a step's loss weight needs no collective. */
  supervised: z.array(z.int().min(0)),
  /** Per pack: tokens that are not padding. */
  tokens: z.array(z.int().min(1)),
  vocabularySize: z.int().nullable(),
  /** Digest of what the packs were made from. */
  source: sha256Schema,
  report: dataReportSchema,
});
export type PackIndex = z.infer<typeof packIndexSchema>;
