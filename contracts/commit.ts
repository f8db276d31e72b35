import { z } from 'zod';
import { sha256Schema, timestampSchema, version } from './version.js';

/**
 * Everything that a result may depend on besides recipe, seed and data: signatures that differ at most in `threads` compute the
 * same bits.
 */
export const executionSignatureSchema = z.strictObject({
  engine: z.string(),
  isa: z.string(),
  device: z.string(),
  threads: z.int(),
  libraries: z.record(z.string(), z.string()),
});
export type ExecutionSignature = z.infer<typeof executionSignatureSchema>;

/**
 * The role of a tensor in a checkpoint: `trained` parameters are published, `optimizer` state and running `statistic`s
 * are needed only to continue training. Set where the snapshot is made; no code reads it out of a name.
 */
export const tensorRoleSchema = z.enum(['trained', 'optimizer', 'statistic']);

const crc32cSchema = z.int().min(0).max(0xffffffff);

export const committedTensorSchema = z.strictObject({
  dtype: z.enum(['f32', 'bf16', 'f16']),
  /** Shape of the whole tensor, whatever ranks hold of it. */
  shape: z.array(z.int().min(0)),
  role: tensorRoleSchema,
});
export type CommittedTensor = z.infer<typeof committedTensorSchema>;

/** The rows of a tensor that one file holds. */
export const tensorPartSchema = z.strictObject({
  /** Byte range in the file, half-open. */
  start: z.int().min(0),
  end: z.int().min(0),
  /** Rows of the first axis, half-open. */
  rows: z.tuple([z.int().min(0), z.int().min(0)]),
  /** Rows of one block; the last block may have fewer. */
  blockRows: z.int().min(1),
  /** CRC-32C of each block, unsigned: a reader of rows checks the blocks that hold them. */
  blocks: z.array(crc32cSchema),
});
export type TensorPart = z.infer<typeof tensorPartSchema>;

/** `<rank file>.json`, next to the safetensors file that it describes. */
export const sidecarSchema = z.strictObject({
  version: version(1),
  /** Length of the file, and CRC-32C of all of it, unsigned. */
  bytes: z.int().min(0),
  crc32c: crc32cSchema,
  tensors: z.record(z.string(), tensorPartSchema),
});
export type Sidecar = z.infer<typeof sidecarSchema>;

export const committedFileSchema = z.strictObject({
  /** Path relative to the run. */
  file: z.string(),
  bytes: z.int().min(0),
  /** CRC-32C of the whole file, unsigned. */
  crc32c: crc32cSchema,
  /** sha256 of the sidecar; the sidecar itself for a file that a version-1 entry committed, which has none. */
  sidecar: z.union([sha256Schema, sidecarSchema]),
});
export type CommittedFile = z.infer<typeof committedFileSchema>;

/** A file by its path relative to the run, and what must be in it. */
const storedFileSchema = z.strictObject({ file: z.string(), sha256: sha256Schema });

/** The location of the lines of metrics.jsonl up to a checkpoint. */
export const committedMetricsSchema = z.strictObject({
  /** Lines since the commit before, in files that nobody writes again. */
  segments: z.array(storedFileSchema),
  /** Length and sha256 of the beginning of metrics.jsonl when this generation last put it together. */
  merged: z.strictObject({ bytes: z.int().min(0), sha256: sha256Schema }),
});
export type CommittedMetrics = z.infer<typeof committedMetricsSchema>;

/** The trainer's state, apart from the tensors, from which training resumes exactly. */
export const trainerStateSchema = z.strictObject({
  /** Optimizer steps done. */
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
  version: version(2),
  /** Tells two writers apart that would otherwise write the same bytes. */
  id: z.uuid(),
  /** Counted from 1, without gaps. */
  sequence: z.int().min(1),
  /** For a claim: the newest generation before it, 0 when there is none. */
  generation: z.int().min(0),
  at: timestampSchema,
};

/** The workflow, and its request, for which a generation was taken. */
export const generationClaimSchema = z.strictObject({
  /** Number of the claim entry under which it was taken. */
  incarnation: z.int().min(1),
  /** Number of the workflow's request for a gang, from 1. */
  ordinal: z.int().min(1),
  grantId: z.string(),
});
export type GenerationClaim = z.infer<typeof generationClaimSchema>;

/** Claiming a run is an entry; so is taking a generation, so is a checkpoint, and so is the decision which ones are kept. */
export const commitEntrySchema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...entry,
    kind: z.literal('claim'),
    /** One higher with each claim. Whatever generation was taken before a claim is fenced by it. */
    incarnation: z.int().min(1),
    /** The Temporal server, e.g. `127.0.0.1:7233`, and the namespace, for people; the namespace's own id tells them apart. */
    server: z.string(),
    namespace: z.string(),
    namespaceId: z.string(),
    workflowId: z.string(),
    firstRunId: z.string(),
  }),
  z.strictObject({
    ...entry,
    kind: z.literal('generation'),
    /** The host that took it: `<pool>.<host>.<incarnation>`. */
    holder: z.string(),
    worldSize: z.int().min(1),
    claim: generationClaimSchema.nullable(),
  }),
  z.strictObject({
    ...entry,
    kind: z.literal('checkpoint'),
    worldSize: z.int().min(1),
    recipeDigest: sha256Schema,
    planDigest: sha256Schema,
    /** The commit from which this generation resumed; null when it began at step 0. */
    resumedFrom: z.int().min(1).nullable(),
    /** Execution signatures of the ranks, each different one once. */
    signatures: z.array(executionSignatureSchema).min(1),
    /** The order in which values of several ranks are summed, e.g. `tree-1`. */
    reduction: z.string(),
    trainer: trainerStateSchema,
    tensors: z.record(z.string(), committedTensorSchema),
    files: z.array(committedFileSchema),
    /** Null in entries of version 1. */
    metrics: committedMetricsSchema.nullable(),
  }),
  z.strictObject({
    ...entry,
    kind: z.literal('retirement'),
    /**
     * The only checkpoints before this entry that may still be loaded. The others' files are deleted after it is in the
     * log.
     */
    keep: z.array(z.int().min(1)),
  }),
]);
export type CommitEntry = z.infer<typeof commitEntrySchema>;
export type ClaimEntry = Extract<CommitEntry, { kind: 'claim' }>;
export type CheckpointEntry = Extract<CommitEntry, { kind: 'checkpoint' }>;
export type RetirementEntry = Extract<CommitEntry, { kind: 'retirement' }>;
export type GenerationEntry = Extract<CommitEntry, { kind: 'generation' }>;
