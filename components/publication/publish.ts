/**
 * Publishes a model folder in the Hugging Face layout. Unfinished work is never visible under the final name:
 *
 * - In a folder, everything is written and read back under a hidden name next to it, which is then renamed.
 * - An object store has no rename. There the files without which transformers, peft, vLLM and onnxruntime-genai load
 *   nothing (`config.json`, `adapter_config.json`, `genai_config.json`) are removed first and written last, after all else
 *   was read back, and the marker as the very last: a folder with its marker is complete.
 *
 * Nothing is held in memory but a chunk.
 */
import { createHash, type Hash, randomUUID } from 'node:crypto';
import { readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { types } from 'node:util';
import { sha256 } from '../../shared/digest.js';
import { CheckpointError, StorageError } from '../../shared/errors.js';
import { syncFolder } from '../../shared/files.js';
import {
  readStoredSafetensorsHeader,
  type SafetensorsSource,
  streamSafetensors,
} from '../../shared/safetensors/safetensors.js';
import { defaultFileBytes, splitWeights, weightIndexJson } from '../../shared/safetensors/weight_index.js';
import type { Storage } from '../../shared/storage/index.js';
import {
  encodeManifest,
  isReplaceable,
  manifestName,
  type PublicationManifest,
  readPublication,
} from './manifest.js';

/** A file that is no weights: its bytes, or a stream that can be made once. */
export interface PublishedFile {
  /** Path within the folder, e.g. `onnx/model.onnx`. */
  name: string;
  content: Uint8Array | string | (() => AsyncIterable<Uint8Array>);
}

export interface PublishOptions {
  /** Storage of the run's folder. */
  storage: Storage;
  /** Name of the folder, e.g. `final`. Replaced when it holds an earlier publication, refused when it holds anything else. */
  name: string;
  /** Digest of what is published (commit, recipe, format): the same source is not published twice. */
  source: string;
  /** `config.json` or `adapter_config.json`: one of `files`. */
  marker: string;
  files: readonly PublishedFile[];
  /**
   * Written as `<stem>.safetensors`, or in several files with an index once that would pass `maxFileBytes` (5 GB). Null
   * where `files` are all there is.
   */
  weights: {
    stem: 'model' | 'adapter_model';
    tensors: readonly SafetensorsSource[];
    maxFileBytes?: number;
  } | null;
  /** Bytes written so far. */
  progress?: (bytes: number) => void;
}

export interface Publication {
  /** Location of the folder. */
  uri: string;
  files: PublicationManifest['files'];
  /** False when the same source had been published already. */
  written: boolean;
}

/** The files that loaders look for. */
const entryPoints = ['config.json', 'adapter_config.json', 'genai_config.json'];

/**
 * Writes, reads back and publishes a model.
 *
 * @throws CheckpointError when what is read back differs, or when the folder holds files that were not published by us
 */
export async function publishModel(options: PublishOptions): Promise<Publication> {
  const { storage, name, source } = options;
  checkNames(options);
  const final = storage.at(name);
  const published = await findPublication(final, options);
  if (published !== null) return { uri: final.uri, files: published.files, written: false };
  if (!(await isReplaceable(final))) {
    throw new CheckpointError(
      `${final.uri} holds files but no ${manifestName}, so it is not a publication that may be replaced: move them away, then run again`,
    );
  }
  const manifest: PublicationManifest = { version: 1, source, files: {} };
  if (storage.folder === null) await publishObjects(final, options, manifest);
  else await publishFolder(storage, storage.folder, options, manifest);
  return { uri: final.uri, files: manifest.files, written: true };
}

async function publishFolder(
  storage: Storage,
  folder: string,
  options: PublishOptions,
  manifest: PublicationManifest,
): Promise<void> {
  const final = path.join(folder, options.name);
  await removeUnfinished(folder, options.name);
  const hidden = `.${options.name}.${randomUUID()}.unfinished`;
  const replaced = path.join(folder, `.${options.name}.${randomUUID()}.unfinished`);
  try {
    await writeAll(storage.at(hidden), options, manifest, null);
    await rename(final, replaced).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    await rename(path.join(folder, hidden), final);
    await syncFolder(folder);
  } catch (error) {
    await rm(path.join(folder, hidden), { recursive: true, force: true });
    if (types.isNativeError(error) && 'syscall' in error) {
      throw new StorageError(`${final}: cannot be published: ${error.message}`, { cause: error });
    }
    throw error;
  }
  await rm(replaced, { recursive: true, force: true });
}

/** Deletes the remains of a process that was killed while it published. */
async function removeUnfinished(folder: string, name: string): Promise<void> {
  for (const entry of await readdir(folder).catch(() => [] as string[])) {
    if (entry.startsWith(`.${name}.`) && entry.endsWith('.unfinished')) {
      await rm(path.join(folder, entry), { recursive: true, force: true });
    }
  }
}

async function publishObjects(
  final: Storage,
  options: PublishOptions,
  manifest: PublicationManifest,
): Promise<void> {
  // From here to the end the folder is ours, though nothing in it is published. Uploads of a killed publisher are given up.
  for await (const upload of final.unfinished('')) await upload.discard();
  await final.write(manifestName, encodeManifest({ version: 1, source: null, files: {} }));
  for (const name of new Set([...entryPoints, options.marker])) await final.delete(name);
  const expectedNames = new Set([
    manifestName,
    ...options.files.map((file) => file.name),
    ...planWeightFiles(options).map(({ file }) => file),
  ]);
  const stale: string[] = [];
  for await (const { key } of final.list('')) if (!expectedNames.has(key)) stale.push(key);
  for (const key of stale) await final.delete(key);
  await writeAll(final, options, manifest, options.marker);
}

/**
 * Writes weights, files, what loaders look for, and the manifest, each read back; `last` comes after everything else.
 */
async function writeAll(
  target: Storage,
  options: PublishOptions,
  manifest: PublicationManifest,
  last: string | null,
): Promise<void> {
  let total = 0;
  const write = async (name: string, content: AsyncIterable<Uint8Array>): Promise<void> => {
    const counted = { bytes: 0, hash: createHash('sha256') };
    const before = total;
    await target.write(
      name,
      measured(content, counted, () => options.progress?.(before + counted.bytes)),
    );
    total += counted.bytes;
    manifest.files[name] = { bytes: counted.bytes, sha256: counted.hash.digest('hex') };
    await verifyBytes(target, name, manifest.files[name]);
  };
  const weightFiles = planWeightFiles(options);
  for (const { file, tensors } of weightFiles) {
    await write(file, streamSafetensors(tensors));
    await verifyTensors(target, file, tensors);
  }
  if (weightFiles.length > 1) {
    await write(
      `${options.weights!.stem}.safetensors.index.json`,
      streamContent(weightIndexJson(weightFiles)),
    );
  }
  for (const { name, content } of inOrder(options.files))
    if (name !== last) await write(name, streamContent(content));
  const marker = options.files.find(({ name }) => name === last);
  if (marker === undefined) {
    await target.write(manifestName, encodeManifest(manifest));
    return;
  }
  const content = await collect(streamContent(marker.content));
  manifest.files[marker.name] = { bytes: content.length, sha256: sha256(content) };
  await target.write(manifestName, encodeManifest(manifest));
  await target.write(marker.name, content);
}

/** Orders files so that what loaders look for comes after what they then load. */
function inOrder(files: readonly PublishedFile[]): PublishedFile[] {
  const isEntry = ({ name }: PublishedFile) => entryPoints.includes(name);
  return [...files.filter((file) => !isEntry(file)), ...files.filter(isEntry)];
}

function planWeightFiles({ weights }: PublishOptions): { file: string; tensors: SafetensorsSource[] }[] {
  if (weights === null) return [];
  return splitWeights(weights.tensors, weights.maxFileBytes ?? defaultFileBytes, weights.stem);
}

async function collect(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* measured(
  content: AsyncIterable<Uint8Array>,
  counted: { bytes: number; hash: Hash },
  progress: () => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    counted.hash.update(chunk);
    counted.bytes += chunk.length;
    progress();
    yield chunk;
  }
}

async function* streamContent(content: PublishedFile['content']): AsyncGenerator<Uint8Array> {
  if (typeof content === 'string') yield Buffer.from(content);
  else if (content instanceof Uint8Array) yield content;
  else yield* content();
}

async function verifyBytes(
  target: Storage,
  name: string,
  expected: { bytes: number; sha256: string },
): Promise<void> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of target.readStream(name)) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  if (bytes === expected.bytes && hash.digest('hex') === expected.sha256) return;
  throw new CheckpointError(
    `${target.uri}/${name}: read back, it is not what was written (${bytes} of ${expected.bytes} bytes): the storage is unreliable; nothing was published`,
  );
}

async function verifyTensors(
  target: Storage,
  file: string,
  tensors: readonly SafetensorsSource[],
): Promise<void> {
  const { tensors: found } = await readStoredSafetensorsHeader(target, file);
  for (const { name, dtype, shape } of tensors) {
    const entry = found.get(name);
    if (entry?.dtype === dtype && String(entry.shape) === String(shape)) continue;
    throw new CheckpointError(
      `${target.uri}/${file}: tensor '${name}' is ${entry === undefined ? 'missing' : `${entry.dtype} [${entry.shape}]`} instead of ${dtype} [${shape}]`,
    );
  }
  if (found.size !== tensors.length) {
    throw new CheckpointError(
      `${target.uri}/${file}: holds ${found.size} tensors instead of ${tensors.length}`,
    );
  }
}

/** Returns the publication that is there, if it is complete and of the same source. */
async function findPublication(
  final: Storage,
  { source, marker }: Pick<PublishOptions, 'source' | 'marker'>,
): Promise<PublicationManifest | null> {
  if ((await final.size(marker)) === null) return null;
  const manifest = await readPublication(final);
  return manifest?.source === source ? manifest : null;
}

function checkNames({ name, marker, files, weights }: PublishOptions): void {
  const names = files.map((file) => file.name);
  const isWrong = (entry: string) => entry === '' || entry.includes('/') || entry.startsWith('.');
  const wrong = isWrong(name) ? name : names.find((entry) => entry.split('/').some(isWrong));
  if (wrong !== undefined) throw new CheckpointError(`'${wrong}' cannot be the name of a published file`);
  const isReserved = (entry: string) =>
    entry === manifestName || (weights !== null && entry.startsWith(`${weights.stem}.safetensors`));
  const twice = names.find((entry, index) => names.indexOf(entry) !== index || isReserved(entry));
  if (twice !== undefined) throw new CheckpointError(`the file '${twice}' would be published twice`);
  if (!names.includes(marker)) throw new CheckpointError(`'${marker}' is not among the files to publish`);
}
