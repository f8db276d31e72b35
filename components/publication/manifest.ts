/** `temper_manifest.json`: what a published folder holds. It also says that the folder is a publication, to be replaced by the next. */
import { z } from 'zod';
import { sha256Schema, version } from '../../contracts/index.js';
import type { Storage } from '../../shared/storage/index.js';

export const manifestName = 'temper_manifest.json';

const manifestSchema = z.strictObject({
  version: version(1),
  /** Digest of what was published; null while an object store's folder is being written. */
  source: z.string().nullable(),
  files: z.record(z.string(), z.strictObject({ bytes: z.int().min(0), sha256: sha256Schema })),
});
export type PublicationManifest = z.infer<typeof manifestSchema>;

export function encodeManifest(manifest: PublicationManifest): Buffer {
  return Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
}

/** Parses a manifest; null when the text is not one. */
export function parseManifest(text: Uint8Array): PublicationManifest | null {
  try {
    return manifestSchema.safeParse(JSON.parse(Buffer.from(text).toString('utf8'))).data ?? null;
  } catch {
    return null;
  }
}

/** Returns the publication in a folder, if it is complete: every file has its length. */
export async function readPublication(storage: Storage): Promise<PublicationManifest | null> {
  if ((await storage.size(manifestName)) === null) return null;
  const manifest = parseManifest(await storage.read(manifestName));
  if (manifest === null || manifest.source === null) return null;
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    if ((await storage.size(name)) !== bytes) return null;
  }
  return manifest;
}

/** Returns whether a folder may be replaced: it is empty, or holds a publication, whole or interrupted. */
export async function isReplaceable(storage: Storage): Promise<boolean> {
  if ((await storage.size(manifestName)) !== null)
    return parseManifest(await storage.read(manifestName)) !== null;
  for await (const _ of storage.list('')) return false;
  return true;
}
