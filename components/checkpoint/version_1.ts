/**
 * Entries of version 1, which runs begun before version 2 have in their logs. They are migrated here, when they are read,
 * and nowhere else: the reader of checkpoints supports only version 2.
 */
import { z } from 'zod';
import {
  type CommitEntry,
  type CommittedFile,
  executionSignatureSchema,
  sha256Schema,
  timestampSchema,
  trainerStateSchema,
  version,
} from '../../contracts/index.js';

const partSchema = z.strictObject({
  file: z.string(),
  start: z.int().min(0),
  end: z.int().min(0),
  rows: z.tuple([z.int().min(0), z.int().min(0)]),
  crc32c: z.int().min(0).max(0xffffffff),
});

const entry = {
  version: version(1),
  id: z.uuid(),
  sequence: z.int().min(1),
  generation: z.int().min(1),
  at: timestampSchema,
};

const checkpointSchema = z.strictObject({
  ...entry,
  kind: z.literal('checkpoint'),
  worldSize: z.int().min(1),
  recipeDigest: sha256Schema,
  planDigest: sha256Schema,
  resumedFrom: z.int().min(1).nullable(),
  signature: executionSignatureSchema,
  trainer: trainerStateSchema,
  tensors: z.record(
    z.string(),
    z.strictObject({
      dtype: z.enum(['f32', 'bf16', 'f16']),
      shape: z.array(z.int().min(0)),
      parts: z.array(partSchema),
    }),
  ),
  files: z.record(z.string(), z.strictObject({ bytes: z.int().min(0), crc32c: z.int().min(0) })),
});

export const version1Schema = z.discriminatedUnion('kind', [
  z.strictObject({
    ...entry,
    kind: z.literal('generation'),
    holder: z.string(),
    worldSize: z.int().min(1),
  }),
  checkpointSchema,
  z.strictObject({ ...entry, kind: z.literal('retirement'), keep: z.array(z.int().min(1)) }),
]);

/** Returns the entry as version 2 would have written it. */
export function migrateVersion1(old: z.infer<typeof version1Schema>): CommitEntry {
  if (old.kind === 'generation') return { ...old, version: 2, claim: null };
  if (old.kind === 'retirement') return { ...old, version: 2 };
  const { signature, tensors, files: _, ...rest } = old;
  return {
    ...rest,
    version: 2,
    signatures: [signature],
    reduction: 'tree-1',
    tensors: Object.fromEntries(
      Object.entries(tensors).map(([name, { dtype, shape }]) => [name, { dtype, shape, role: roleOf(name) }]),
    ),
    files: migrateFiles(old),
    metrics: null,
  };
}

/** Version 1 recorded no roles: optimizer state was known by these prefixes, and everything else was trained. */
const roleOf = (name: string) =>
  /^(m|v|momentum):/.test(name) ? ('optimizer' as const) : ('trained' as const);

/** Its parts, each with one checksum, become sidecars whose parts have one block. */
function migrateFiles({ files, tensors }: z.infer<typeof checkpointSchema>): CommittedFile[] {
  return Object.entries(files).map(([file, content]) => {
    const parts = Object.entries(tensors).flatMap(([name, tensor]) =>
      tensor.parts.filter((part) => part.file === file).map((part) => [name, part] as const),
    );
    const sidecar = {
      version: 1 as const,
      ...content,
      tensors: Object.fromEntries(
        parts.map(([name, { start, end, rows, crc32c }]) => [
          name,
          { start, end, rows, blockRows: Math.max(1, rows[1] - rows[0]), blocks: [crc32c] },
        ]),
      ),
    };
    return { file, ...content, sidecar };
  });
}
