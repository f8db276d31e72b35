/** Downloads a model from the hub into the cache: resumed after an interruption, checked, published all at once. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { ModelError, ServiceUnavailable } from '../../../shared/errors.js';
import { exists, publishFolder, removeAbandoned, writeAtomically } from '../../../shared/files.js';
import { staleAfter, withLock } from '../../../shared/folder_lock.js';
import { HubClient, type HubFile, type HubOptions } from '../../../shared/hub_client.js';

export interface DownloadOptions extends HubOptions {
  /** Folder of the cache. */
  cache: string;
  revision?: string;
  onProgress?: (doneBytes: number, totalBytes: number, file: string) => void;
  onNotice?: (text: string) => void;
  /** ms without renewal after which another host's download is taken over. Default: a minute. */
  staleAfterMs?: number;
}

export interface DownloadedModel {
  folder: string;
  commit: string;
}

const commitPattern = /^[0-9a-f]{40}$/;
const wantedNames = new Set([
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
  'model.safetensors.index.json',
]);

/**
 * Returns the folder of a model at a revision. A commit that is in the cache needs no network; a branch does, unless
 * the hub cannot be reached (or HF_HUB_OFFLINE is set) and the branch was resolved before.
 */
export async function downloadModel(id: string, options: DownloadOptions): Promise<DownloadedModel> {
  const { revision = 'main', onNotice } = options;
  const home = path.join(options.cache, 'hub', id.replaceAll('/', '--'));
  const client = new HubClient(options);
  const commit = await resolveCommit(client, id, revision, home, onNotice);
  const folder = path.join(home, commit);
  if (!(await exists(folder))) {
    if (offline())
      throw new ServiceUnavailable(
        `${id} at ${commit} is not in the cache, and HF_HUB_OFFLINE forbids fetching it`,
      );
    await mkdir(home, { recursive: true });
    const lockOptions = {
      signal: options.signal ?? null,
      onWait: onNotice ?? (() => undefined),
      staleAfter: options.staleAfterMs ?? staleAfter,
    };
    await withLock(`${folder}.lock`, lockOptions, async () => {
      // Another process may have published it while this one waited.
      if (!(await exists(folder))) await fetchAll(client, id, commit, folder, options);
    });
  }
  return { folder, commit };
}

async function resolveCommit(
  client: HubClient,
  id: string,
  revision: string,
  home: string,
  onNotice: ((text: string) => void) | undefined,
): Promise<string> {
  if (commitPattern.test(revision)) return revision;
  const ref = path.join(home, 'refs', encodeURIComponent(revision));
  const cachedCommit = await readFile(ref, 'utf8').catch(() => null);
  if (offline()) {
    if (cachedCommit !== null) return cachedCommit;
    throw new ServiceUnavailable(
      `${id} at ${revision} is not in the cache, and HF_HUB_OFFLINE forbids fetching it`,
    );
  }
  try {
    const commit = await client.commitOf(id, revision);
    await mkdir(path.dirname(ref), { recursive: true });
    await writeAtomically(ref, commit);
    return commit;
  } catch (error) {
    if (!(error instanceof ServiceUnavailable) || cachedCommit === null) throw error;
    onNotice?.(
      `the hub cannot be reached; ${id} at ${revision} is taken from the cache, commit ${cachedCommit}`,
    );
    return cachedCommit;
  }
}

async function fetchAll(
  client: HubClient,
  id: string,
  commit: string,
  folder: string,
  options: DownloadOptions,
): Promise<void> {
  // Without a process in its name, so that the next process resumes it.
  const partial = `${folder}.partial`;
  await removeAbandoned(path.dirname(folder));
  await mkdir(partial, { recursive: true });
  const files = selectFiles(await client.files(id, commit), id);
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  let before = 0;
  for (const file of files) {
    const done = before;
    await fetchFile(client, id, commit, file, partial, (bytes) =>
      options.onProgress?.(done + bytes, total, file.path),
    );
    before += file.bytes;
  }
  await publishFolder(partial, folder);
}

/** Returns config, tokenizer and safetensors weights; throws where the repository has none of the latter. */
function selectFiles(files: HubFile[], id: string): HubFile[] {
  const indexed = files.some(({ path: name }) => name === 'model.safetensors.index.json');
  const isWeight = (name: string) =>
    indexed ? /^model-\d+-of-\d+\.safetensors$/.test(name) : name === 'model.safetensors';
  const selected = files.filter(({ path: name }) => wantedNames.has(name) || isWeight(name));
  if (!selected.some(({ path: name }) => name === 'config.json'))
    throw new ModelError(`${id}: the repository has no config.json`);
  if (!selected.some(({ path: name }) => isWeight(name))) {
    const gguf = files.find(({ path: name }) => name.endsWith('.gguf'));
    const hint = gguf === undefined ? '' : `; it has ${gguf.path}: download that file and name its path`;
    throw new ModelError(`${id}: the repository has no safetensors weights${hint}`);
  }
  return selected;
}

async function fetchFile(
  client: HubClient,
  id: string,
  commit: string,
  file: HubFile,
  folder: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const target = path.join(folder, file.path);
  if (await exists(target)) return onBytes(file.bytes);
  const partial = `${target}.partial`;
  for (let attempt = 1; ; attempt++) {
    await fetchRest(client, id, commit, file, partial, onBytes);
    const actual = await checksum(partial, file);
    if (actual === file.checksum.value) break;
    await rm(partial);
    if (attempt === 2) {
      throw new ModelError(
        `${id}: ${file.path} is damaged: ${file.checksum.algorithm} ${actual}, but the hub lists ${file.checksum.value}`,
      );
    }
  }
  await rename(partial, target);
}

/** Appends what `partial` lacks, and resumes after a broken connection as long as each one brings something. */
async function fetchRest(
  client: HubClient,
  id: string,
  commit: string,
  file: HubFile,
  partial: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  const handle = await open(partial, 'a+');
  try {
    let have = (await handle.stat()).size;
    if (have > file.bytes) {
      await handle.truncate(0);
      have = 0;
    }
    for (let fruitless = 0; have < file.bytes; ) {
      const before = have;
      try {
        const { from, body } = await client.content(id, commit, file.path, have);
        if (from !== have) {
          await handle.truncate(from);
          have = from;
        }
        for await (const chunk of body) {
          await handle.appendFile(chunk);
          have += chunk.byteLength;
          onBytes(have);
        }
      } catch (error) {
        if (!isBrokenConnection(error)) throw error;
      }
      if (have > file.bytes) break;
      fruitless = have > before ? 0 : fruitless + 1;
      if (fruitless === 3)
        throw new ServiceUnavailable(`${id}: the connection broke at byte ${have} of ${file.path}`);
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Returns whether a connection broke: fetch reports that as a TypeError with the socket's error as its cause. */
function isBrokenConnection(error: unknown): boolean {
  const { name, code } = error as { name?: string; code?: string };
  return name === 'TypeError' || /^(ECONN|EPIPE|ETIMEDOUT|UND_ERR)/.test(code ?? '');
}

async function checksum(file: string, { checksum: { algorithm } }: HubFile): Promise<string> {
  const hash = createHash(algorithm === 'sha256' ? 'sha256' : 'sha1');
  if (algorithm === 'git-sha1') hash.update(`blob ${(await stat(file)).size}\0`);
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

function offline(): boolean {
  return /^(1|true|yes|on)$/i.test(process.env.HF_HUB_OFFLINE ?? '');
}
