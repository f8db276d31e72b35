/**
 * Publishes files in a repository of the hub: all of them in one commit, so that nobody ever sees a part. Large files go
 * up before it by their sha256, and those that are there already do not go again: an upload that was killed continues.
 *
 * The commit names the commit it was made for as its parent, and the hub refuses it when the branch has moved. So it may be
 * tried again after a lost answer: either it is found done, or it happens once.
 */
import { createHash } from 'node:crypto';
import { commit, createBranch, createRepo, HubApiError } from '@huggingface/hub';
import { ServiceUnavailable, StorageError } from '../../../shared/errors.js';
import { HubClient, type HubFile, type HubOptions } from '../../../shared/hub_client.js';
import { UploadBlob, type UploadFile } from './upload_blob.js';
import { HubFetch, UnansweredCommit } from './upload_fetch.js';

export interface UploadOptions extends HubOptions {
  /** `owner/name`. Created with the owner's default visibility when there is none. */
  id: string;
  /** Created from main when there is none. */
  branch: string;
  files: readonly UploadFile[];
  /** The one among `files` that makes a repository's content replaceable, and how it names the files of a publication. */
  manifest: { name: string; listed(text: Uint8Array): string[] };
  /** First line of the commit message. */
  title: string;
  /** Bytes read so far, to be hashed and to be sent. */
  onProgress?: (stage: 'hash' | 'upload', bytes: number) => void;
}

export interface Uploaded {
  /** Address of the repository's page at the branch. */
  url: string;
  commit: string;
  /** False when the branch held these files already. */
  written: boolean;
}

/** Files that a repository may hold in addition to a publication. */
const neutralFiles = new Set(['.gitattributes', 'README.md', 'LICENSE', 'LICENSE.md', 'LICENSE.txt']);
const attempts = 5;

/**
 * @throws StorageError for what the hub refuses and for a repository that holds something else, ServiceUnavailable when
 * it cannot be reached
 */
export async function uploadModel(options: UploadOptions): Promise<Uploaded> {
  const upload = new Upload(options);
  try {
    return await upload.run();
  } catch (error) {
    throw upload.explain(error);
  }
}

/**
 * Returns the token to write with.
 * @throws StorageError where there is none; whether it may write there, the hub alone knows
 */
export function uploadToken(options: Pick<UploadOptions, 'id' | 'token' | 'endpoint'>): string {
  const token = options.token ?? process.env.HF_TOKEN ?? '';
  if (token.startsWith('hf_')) return token;
  const { endpoint } = new HubClient(options);
  throw new StorageError(
    `${options.id}: ${token === '' ? 'HF_TOKEN is not set' : 'HF_TOKEN is not a Hugging Face token (hf_…)'}; publishing needs one that may write: ${endpoint}/settings/tokens`,
  );
}

class Upload {
  readonly #client: HubClient;
  readonly #hub: HubFetch;
  readonly #access: { accessToken: string; hubUrl: string; fetch: typeof fetch };
  readonly #repo: { type: 'model'; name: string };
  #stage: 'hash' | 'upload' = 'hash';
  #bytes = 0;
  #lastFailure = 'it does not store what is committed to it';
  readonly #options: UploadOptions;

  constructor(options: UploadOptions) {
    this.#options = options;
    this.#client = new HubClient(options);
    const { endpoint } = this.#client;
    const token = uploadToken(options);
    this.#hub = new HubFetch({
      retryDelayMs: options.retryDelayMs ?? 500,
      signal: options.signal ?? null,
      onUpload: () => this.#enter('upload'),
    });
    this.#access = { accessToken: token, hubUrl: endpoint, fetch: this.#hub.fetch };
    this.#repo = { type: 'model', name: options.id };
  }

  async run(): Promise<Uploaded> {
    const { id, branch, files } = this.#options;
    const url = `${this.#client.endpoint}/${id}${branch === 'main' ? '' : `/tree/${encodeURIComponent(branch)}`}`;
    for (let attempt = 1, written = false; ; attempt++) {
      const head = (await this.#head()) ?? (await this.#create());
      const published = await this.#client.files(id, head);
      const differing = await differingFiles(files, published);
      const stale = await this.#stale(head, published);
      if (differing.length === 0 && stale.length === 0) return { url, commit: head, written };
      if (attempt > attempts)
        throw new ServiceUnavailable(
          `${id}: nothing could be committed to the branch '${branch}' in ${attempts} attempts: ${this.#lastFailure}; what was uploaded is kept: publish again`,
        );
      const outcome = await this.#commit(head, differing, stale);
      written ||= outcome !== 'moved';
      if (outcome !== 'done') await this.#hub.pause(attempt);
    }
  }

  explain(error: unknown): unknown {
    const { id, branch } = this.#options;
    const { endpoint } = this.#client;
    if (!(error instanceof HubApiError)) return error;
    const refuse = (why: string) => new StorageError(`${id}: ${why} (${error.message})`, { cause: error });
    switch (error.statusCode) {
      case 401:
        return refuse(
          `the hub does not know HF_TOKEN; make one that may write at ${endpoint}/settings/tokens`,
        );
      case 403:
        return refuse(
          `HF_TOKEN may not write there: give it write access to '${id.split('/')[0]}' at ${endpoint}/settings/tokens, or publish under another name`,
        );
      case 404:
        return refuse(`the hub has no such owner, repository or branch '${branch}'`);
      default:
        return refuse(`the hub refuses the upload with ${error.statusCode}`);
    }
  }

  /** Returns the branch's commit; null when there is no such repository or branch. */
  async #head(): Promise<string | null> {
    const { id, branch } = this.#options;
    const { accessToken, hubUrl } = this.#access;
    const url = `${hubUrl}/api/models/${id}/revision/${encodeURIComponent(branch)}`;
    const response = await this.#hub.fetch(url, { headers: { authorization: `Bearer ${accessToken}` } });
    const text = await response.text();
    if (response.status === 404) return null;
    if (!response.ok)
      throw new HubApiError(url, response.status, undefined, `${url} answers ${response.status}`);
    const { sha } = JSON.parse(text) as { sha?: unknown };
    if (typeof sha === 'string' && /^[0-9a-f]{40}$/.test(sha)) return sha;
    throw new StorageError(`${id}: the hub gives no commit for the branch '${branch}' (${url})`);
  }

  async #create(): Promise<string> {
    const { id, branch } = this.#options;
    await createRepo({ repo: this.#repo, ...this.#access }).catch(unlessThere);
    if (branch !== 'main')
      await createBranch({ repo: this.#repo, branch, ...this.#access }).catch(unlessThere);
    const head = await this.#head();
    if (head !== null) return head;
    throw new StorageError(`${id}: exists, but HF_TOKEN may not read its branch '${branch}'`);
  }

  /**
   * Returns the files of an earlier publication that this one lacks. Throws for a repository that holds no publication
   * but files.
   */
  async #stale(head: string, published: readonly HubFile[]): Promise<string[]> {
    const { id, files, manifest } = this.#options;
    const held = published.map(({ path }) => path);
    if (held.includes(manifest.name)) {
      const { body } = await this.#client.content(id, head, manifest.name, 0);
      const listed = manifest.listed(await collect(body));
      const newPaths = new Set(files.map(({ path }) => path));
      return listed.filter((path) => held.includes(path) && !newPaths.has(path));
    }
    const foreign = held.filter((path) => !neutralFiles.has(path));
    if (foreign.length === 0) return [];
    throw new StorageError(
      `${id}: holds files that Temper did not publish (${foreign.slice(0, 3).join(', ')}${foreign.length > 3 ? ' …' : ''}); choose another name`,
    );
  }

  /** Commits the uploaded files. `moved`: somebody else committed first. `unknown`: the answer was lost. */
  async #commit(
    head: string,
    files: readonly UploadFile[],
    stale: readonly string[],
  ): Promise<'done' | 'moved' | 'unknown'> {
    const { branch, title, signal } = this.#options;
    this.#enter('hash');
    const additions = files.map((file) => ({
      operation: 'addOrUpdate' as const,
      path: file.path,
      content: new UploadBlob(file, 0, file.bytes, (bytes) => this.#count(bytes)),
    }));
    try {
      await commit({
        ...this.#access,
        repo: this.#repo,
        branch,
        title,
        parentCommit: head,
        operations: [...additions, ...stale.map((path) => ({ operation: 'delete' as const, path }))],
        // Large files by their sha256: the hub keeps each that arrived whole, whatever becomes of the rest.
        useXet: false,
        ...(signal && { abortSignal: signal }),
      });
      return 'done';
    } catch (error) {
      const moved = error instanceof HubApiError && [409, 412].includes(error.statusCode);
      if (!moved && !(error instanceof UnansweredCommit)) throw error;
      this.#lastFailure = error.message;
      return moved ? 'moved' : 'unknown';
    }
  }

  #enter(stage: 'hash' | 'upload'): void {
    if (stage !== this.#stage) this.#bytes = 0;
    this.#stage = stage;
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#options.onProgress?.(this.#stage, this.#bytes);
  }
}

function unlessThere(error: unknown): void {
  if (!(error instanceof HubApiError) || error.statusCode !== 409) throw error;
}

async function differingFiles(
  files: readonly UploadFile[],
  published: readonly HubFile[],
): Promise<UploadFile[]> {
  const byPath = new Map(published.map((file) => [file.path, file]));
  const differing: UploadFile[] = [];
  for (const file of files) if (!(await isSame(file, byPath.get(file.path)))) differing.push(file);
  return differing;
}

/** Returns whether a file has the digest that the hub lists: sha256 for large files, git's sha1 for others. */
async function isSame(file: UploadFile, listed: HubFile | undefined): Promise<boolean> {
  if (listed === undefined || listed.bytes !== file.bytes) return false;
  const { algorithm, value } = listed.checksum;
  if (algorithm === 'sha256') return value === file.sha256;
  const hash = createHash('sha1').update(`blob ${file.bytes}\0`);
  for await (const chunk of file.read(0, file.bytes)) hash.update(chunk);
  return value === hash.digest('hex');
}

async function collect(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}
