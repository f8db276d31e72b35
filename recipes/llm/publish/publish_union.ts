/**
 * Publishes what a run has written, final/ and onnx/ as one folder, somewhere else: a folder, an S3 prefix or a repository
 * of the hub. It becomes visible all at once, and the same again changes nothing.
 */
import {
  hubUploadToken,
  isReplaceable,
  manifestName,
  type PublicationManifest,
  parseManifest,
  publishModel,
  readPublication,
  uploadToHub,
} from '../../../components/publication/index.js';
import { digestOf, sha256 } from '../../../shared/digest.js';
import { CheckpointError, UsageError } from '../../../shared/errors.js';
import { isWithin, type Storage } from '../../../shared/storage/index.js';
import { openRooted } from '../../run/open_run.js';
import type { StepHooks } from '../../run/progress.js';
import type { PublishLocation } from '../publish_location.js';

export interface Union {
  /** The published folder whose files lie at the root. */
  final: Storage;
  /** The published folder of an ONNX export, or null. */
  onnx: Storage | null;
  /** First line of a commit on the hub. */
  title: string;
}

export interface Published {
  /** Location of the folder, or address of the repository. */
  uri: string;
  /** False when the same stood there already. */
  written: boolean;
}

interface UnionFile {
  name: string;
  from: Storage;
  bytes: number;
  sha256: string;
}

/**
 * @throws UsageError when something else is there, StorageError for what the destination refuses, ServiceUnavailable
 * when it cannot be reached
 */
export async function publishUnion(
  location: PublishLocation,
  union: Union,
  hooks: StepHooks,
): Promise<Published> {
  const files = await listFiles(union);
  return location.kind === 'hub'
    ? toHub(location, union.title, files, hooks)
    : toStorage(location, files, hooks);
}

/** Returns the parent storage of a location and the name in it, if what is there may be replaced. */
export async function openLocation({
  uri,
  parent,
  name,
}: Extract<PublishLocation, { kind: 'storage' }>): Promise<{ parent: Storage; name: string }> {
  const storage = await openRooted(parent);
  if (!(await isReplaceable(storage.at(name))))
    throw new UsageError(`${uri}: holds other files, and publishing would replace them; choose a new folder`);
  return { parent: storage, name };
}

/**
 * Throws what publishing there would throw, as far as it can be known beforehand: UsageError for a destination where
 * something else is, or which the run writes to itself, StorageError when there is no token.
 */
export async function checkLocation(location: PublishLocation, outputDir: string): Promise<void> {
  if (location.kind === 'hub') {
    await hubUploadToken({ id: location.id });
    return;
  }
  if (isWithin(location.uri, [outputDir]) || isWithin(outputDir, [location.uri]))
    throw new UsageError(
      `${location.uri}: overlaps the run's output_dir (${outputDir}), where the run writes itself; publish elsewhere`,
    );
  await openLocation(location);
}

/**
 * Returns final's files; of onnx's those that final lacks, and its config.json, which says where transformers.js finds
 * weights.
 */
async function listFiles({ final, onnx }: Union): Promise<UnionFile[]> {
  const files = new Map<string, UnionFile>();
  const take = ({ files: listed }: PublicationManifest, from: Storage) => {
    for (const [name, { bytes, sha256: digest }] of Object.entries(listed)) {
      if (from === final || name === 'config.json' || !files.has(name))
        files.set(name, { name, from, bytes, sha256: digest });
    }
  };
  take(await requirePublication(final), final);
  if (onnx !== null) take(await requirePublication(onnx), onnx);
  return [...files.values()];
}

async function requirePublication(folder: Storage): Promise<PublicationManifest> {
  const manifest = await readPublication(folder);
  if (manifest === null) throw new CheckpointError(`${folder.uri}: is not a complete publication`);
  return manifest;
}

/** Returns the digest by which the same union is known again. */
function digestFiles(files: readonly UnionFile[]): string {
  return digestOf(Object.fromEntries(files.map(({ name, sha256: digest }) => [name, digest])));
}

async function toStorage(
  location: Extract<PublishLocation, { kind: 'storage' }>,
  files: readonly UnionFile[],
  hooks: StepHooks,
): Promise<Published> {
  const { parent, name } = await openLocation(location);
  const { uri, written } = await publishModel({
    storage: parent,
    name,
    source: digestFiles(files),
    marker: files.some((file) => file.name === 'adapter_config.json') ? 'adapter_config.json' : 'config.json',
    files: files.map((file) => ({ name: file.name, content: () => file.from.readStream(file.name) })),
    weights: null,
    progress: (bytes) => report(hooks, `publishing to ${location.uri}`, bytes, totalBytes(files)),
  });
  return { uri, written };
}

async function toHub(
  { id, branch }: Extract<PublishLocation, { kind: 'hub' }>,
  title: string,
  files: readonly UnionFile[],
  hooks: StepHooks,
): Promise<Published> {
  const uploads = files.map(({ name, from, bytes, sha256: digest }) => ({
    path: name,
    bytes,
    sha256: digest,
    read: (start: number, end: number) => from.readStream(name, start, end),
  }));
  const manifest = buildManifest(files);
  const { url, written } = await uploadToHub({
    id,
    branch,
    title,
    files: [...uploads, manifest],
    manifest: {
      name: manifestName,
      listed: (text) => [manifestName, ...Object.keys(parseManifest(text)?.files ?? {})],
    },
    signal: hooks.signal,
    onProgress: (stage, bytes) =>
      report(
        hooks,
        stage === 'hash' ? 'checking what is to be uploaded' : `uploading to ${id}`,
        bytes,
        totalBytes(files),
      ),
  });
  return { uri: url, written };
}

function buildManifest(files: readonly UnionFile[]) {
  const entries = files.map(({ name, bytes, sha256: digest }) => [name, { bytes, sha256: digest }]);
  const manifest = { version: 1, source: digestFiles(files), files: Object.fromEntries(entries) };
  const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
  return {
    path: manifestName,
    bytes: text.length,
    sha256: sha256(text),
    async *read(start: number, end: number) {
      yield text.subarray(start, end);
    },
  };
}

const totalBytes = (files: readonly UnionFile[]) => files.reduce((sum, { bytes }) => sum + bytes, 0);

function report(hooks: StepHooks, what: string, bytes: number, total: number): void {
  const megabytes = (count: number) => Math.round(count / 1e6);
  hooks.progress(Math.min(1, bytes / total), `${what}, ${megabytes(bytes)} of ${megabytes(total)} MB`);
}
