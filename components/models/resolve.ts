/** Resolves a recipe's model to a local folder that has been checked. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { digestFile, sha256 } from '../../shared/digest.js';
import { ModelError } from '../../shared/errors.js';
import { writeUnsynced } from '../../shared/files.js';
import type { HubOptions } from '../../shared/hub_client.js';
import { readableFolder, readablePath } from '../../shared/storage/index.js';
import type { Model } from './blocks/family.js';
import { converterVersion, convertGguf, type DequantizedDType } from './convert_gguf.js';
import { downloadModel } from './hub/download.js';
import { openModel } from './registry.js';
import { locateWeights, type Weights } from './weights.js';

export interface ResolveOptions extends HubOptions {
  /** Default: TEMPER_CACHE, else ~/.cache/temper. */
  cache?: string;
  /** Branch, tag or commit of a Hugging Face id. */
  revision?: string;
  configOverrides?: Record<string, unknown>;
  /** Type that the quantized tensors of a GGUF file become: bf16 for training, f32 where every bit is wanted. Default bf16. */
  ggufDType?: DequantizedDType;
  onProgress?: (progress: ResolveProgress) => void;
  onNotice?: (text: string) => void;
}

export interface ResolveProgress {
  stage: 'download' | 'convert';
  /** Bytes. */
  done: number;
  total: number;
}

export interface ResolvedModel {
  /** Absolute; holds config.json, safetensors weights and, mostly, a tokenizer. */
  folder: string;
  model: Model;
  weights: Weights;
  source: ModelSource;
}

/** Identity that a resume compares: the same source is the same weights. */
export type ModelSource =
  | { kind: 'folder'; folder: string }
  | { kind: 'gguf'; file: string; sha256: string; dtype: DequantizedDType }
  | { kind: 'hub'; id: string; commit: string };

export function defaultCache(): string {
  return process.env.TEMPER_CACHE || path.join(homedir(), '.cache', 'temper');
}

/**
 * Resolves a folder, a .gguf file or a Hugging Face id, in this order.
 * @throws ModelError when it is none of them, when config or weights are wrong, StorageError outside the process's
 * storage roots, and ServiceUnavailable when the hub is needed and cannot be reached
 */
export async function resolveModel(name: string, options: ResolveOptions = {}): Promise<ResolvedModel> {
  const cache = options.cache ?? defaultCache();
  const { folder, source } = await locate(name, cache, options);
  const model = await openModel(folder, options.configOverrides);
  return { folder, model, weights: await locateWeights(folder, model), source };
}

async function locate(
  name: string,
  cache: string,
  options: ResolveOptions,
): Promise<{ folder: string; source: ModelSource }> {
  const local = await stat(name).catch(() => null);
  if (local?.isDirectory()) {
    const folder = await readableFolder(name, 'model');
    return { folder, source: { kind: 'folder', folder } };
  }
  if (name.endsWith('.gguf')) {
    if (!local?.isFile()) throw new ModelError(`${name}: no such file`);
    return fromGguf(await readablePath(name, 'model'), cache, options);
  }
  if (local !== null) throw new ModelError(`${name}: neither a model folder nor a .gguf file`);
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(name)?.[1];
  if (scheme !== undefined) {
    throw new ModelError(
      `${name}: models are read from local folders, not from ${scheme}://; copy it to this machine and name the folder, ` +
        'or name a Hugging Face id (owner/name)',
    );
  }
  const isPath = /^[./~]/.test(name);
  if (isPath || !/^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)?$/.test(name)) {
    throw new ModelError(
      `${name}: no such folder${isPath ? '' : ', and not a Hugging Face id (owner/name)'}`,
    );
  }
  const { onProgress, configOverrides: _overrides, ggufDType: _dtype, ...hub } = options;
  const { folder, commit } = await downloadModel(name, {
    ...hub,
    cache,
    ...(onProgress && {
      onProgress: (done: number, total: number) => onProgress({ stage: 'download', done, total }),
    }),
  });
  return { folder, source: { kind: 'hub', id: name, commit } };
}

async function fromGguf(
  file: string,
  cache: string,
  options: ResolveOptions,
): Promise<{ folder: string; source: ModelSource }> {
  const dtype = options.ggufDType ?? 'bf16';
  const digest = await rememberedDigest(file, cache);
  const folder = path.join(cache, 'gguf', `${digest.slice(0, 32)}-${dtype}-v${converterVersion}`);
  if ((await stat(folder).catch(() => null)) === null) {
    const { onProgress, signal } = options;
    await convertGguf(file, folder, {
      dtype,
      ...(signal && { signal }),
      ...(onProgress && {
        onProgress: (done: number, total: number) => onProgress({ stage: 'convert', done, total }),
      }),
    });
  }
  return { folder, source: { kind: 'gguf', file, sha256: digest, dtype } };
}

/**
 * Runs `check` unless it has passed before for these files in their present state (size, time of change, inode); the cache
 * keeps the note.
 */
export async function oncePerState(
  files: Iterable<string>,
  cache: string,
  check: () => Promise<void>,
): Promise<void> {
  const states = [...new Set(files)].sort().map(async (file) => `${file} ${await readFileState(file)}`);
  const note = path.join(cache, 'checked', sha256((await Promise.all(states)).join('\n')));
  if ((await stat(note).catch(() => null)) !== null) return;
  await check();
  await mkdir(path.dirname(note), { recursive: true });
  await writeFile(note, '');
}

async function readFileState(file: string): Promise<string> {
  const { size, mtimeNs, ino } = await stat(file, { bigint: true });
  return [size, mtimeNs, ino].join(' ');
}

/**
 * Returns the sha256 of a file, computed once for each state of it (size, time of change, inode) and kept in the cache.
 */
export async function rememberedDigest(file: string, cache: string): Promise<string> {
  const state = await readFileState(file);
  const note = path.join(cache, 'digests', sha256(file));
  const [knownState, known] = (await readFile(note, 'utf8').catch(() => '')).split('\n');
  if (knownState === state && known !== undefined) return known;
  const { sha256: digest } = await digestFile(file);
  await mkdir(path.dirname(note), { recursive: true });
  await writeUnsynced(note, `${state}\n${digest}`);
  return digest;
}
