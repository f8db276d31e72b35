import { z } from 'zod';
import { sha256Schema, timestampSchema, version } from './version.js';

/** What a result may depend on besides recipe, seed and data: two equal signatures compute the same bits. */
export const executionSignatureSchema = z.strictObject({
  engine: z.string(),
  isa: z.string(),
  device: z.string(),
  threads: z.int(),
  libraries: z.record(z.string(), z.string()),
});
export type ExecutionSignature = z.infer<typeof executionSignatureSchema>;

/** A range of a tensor's rows, and where its bytes lie. */
export const tensorPartSchema = z.strictObject({
  file: z.string(),
  /** Byte range in the file, half-open. */
  start: z.int().min(0),
  end: z.int().min(0),
  /** Rows of the first axis, half-open. */
  rows: z.tuple([z.int().min(0), z.int().min(0)]),
  /** CRC-32C of these bytes, unsigned: names the tensor that is damaged. */
  crc32c: z.int().min(0).max(0xffffffff),
});
export type TensorPart = z.infer<typeof tensorPartSchema>;

export const committedTensorSchema = z.strictObject({
  dtype: z.enum(['f32', 'bf16', 'f16']),
  shape: z.array(z.int().min(0)),
  parts: z.array(tensorPartSchema),
});
export type CommittedTensor = z.infer<typeof committedTensorSchema>;

export const committedFileSchema = z.strictObject({
  bytes: z.int().min(0),
  /** CRC-32C of the whole file, unsigned. */
  crc32c: z.int().min(0).max(0xffffffff),
});
export type CommittedFile = z.infer<typeof committedFileSchema>;

/** What the trainer needs beside the tensors to go on exactly where it was. */
export const trainerStateSchema = z.strictObject({
  /** Optimiser steps done. */
  step: z.int().min(0),
  /** Epoch under way, from 0, and packs of it already taken. */
  epoch: z.int().min(0),
  cursor: z.int().min(0),
  seed: z.int().min(0),
  /** Tokens and supervised tokens seen in all. */
  tokens: z.int().min(0),
  supervisedTokens: z.int().min(0),
  /** Best value of the watched metric so far, for early stopping and `load_best`. */
  best: z
    .strictObject({ metric: z.string(), value: z.number(), step: z.int(), misses: z.int().min(0) })
    .nullable(),
  /** Validation results of this very step by name, empty when none was run. */
  validation: z.record(z.string(), z.number()),
});
export type TrainerState = z.infer<typeof trainerStateSchema>;

const entry = {
  version: version(1),
  /** Tells two writers apart that would otherwise write the same bytes. */
  id: z.uuid(),
  /** From 1, without gaps. */
  sequence: z.int().min(1),
  generation: z.int().min(1),
  at: timestampSchema,
};

/** Taking a generation is an entry; so is a checkpoint, and so is the decision which ones are kept. */
export const commitEntrySchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...entry,
    kind: z.literal('generation'),
    /** Who took it: `<pool>.<host>.<incarnation>`. */
    holder: z.string(),
    worldSize: z.int().min(1),
  }),
  z.strictObject({
    ...entry,
    kind: z.literal('checkpoint'),
    worldSize: z.int().min(1),
    recipeDigest: sha256Schema,
    planDigest: sha256Schema,
    /** The commit that this generation went on from; null when it began at step 0. */
    resumedFrom: z.int().min(1).nullable(),
    signature: executionSignatureSchema,
    trainer: trainerStateSchema,
    tensors: z.record(z.string(), committedTensorSchema),
    /** By path relative to the run. */
    files: z.record(z.string(), committedFileSchema),
  }),
  z.strictObject({
    ...entry,
    kind: z.literal('retirement'),
    /** Of all checkpoints before this entry, these alone may still be loaded. The others' files are deleted after it stands. */
    keep: z.array(z.int().min(1)),
  }),
]);
export type CommitEntry = z.infer<typeof commitEntrySchema>;
export type CheckpointEntry = Extract<CommitEntry, { kind: 'checkpoint' }>;
export type RetirementEntry = Extract<CommitEntry, { kind: 'retirement' }>;
export type GenerationEntry = Extract<CommitEntry, { kind: 'generation' }>;

/** `<run>/commits/<sequence, 8 digits>.json`: the entry, and a checksum of its text exactly as it stands in the file. */
export const commitFileSchema = z.strictObject({
  /** Eight hexadecimal digits. */
  crc32c: z.string().regex(/^[0-9a-f]{8}$/),
  entry: commitEntrySchema,
});
