/** The Hugging Face hub's HTTP interface, as much as a download needs: resolve a revision, list files, read ranges. */
import { ModelError, ServiceUnavailable } from './errors.js';
import { errorMessage } from './format.js';

export interface HubFile {
  path: string;
  bytes: number;
  /** sha256 of the content for files in large-file storage, else git's sha1 over `blob <length>\0` and the content. */
  checksum: { algorithm: 'sha256' | 'git-sha1'; value: string };
}

export interface HubOptions {
  /** Default: HF_ENDPOINT, else https://huggingface.co. */
  endpoint?: string;
  /** Default: HF_TOKEN. Sent only to the endpoint. */
  token?: string;
  /** Milliseconds before the first retry; doubles with each. */
  retryDelayMs?: number;
  signal?: AbortSignal;
}

const attempts = 5;

export class HubClient {
  readonly endpoint: string;
  readonly #headers: Record<string, string>;
  readonly #retryDelayMs: number;
  readonly #signal: AbortSignal | null;

  constructor(options: HubOptions = {}) {
    this.endpoint = (options.endpoint ?? (process.env.HF_ENDPOINT || 'https://huggingface.co')).replace(
      /\/+$/,
      '',
    );
    const token = options.token ?? process.env.HF_TOKEN;
    this.#headers = { 'user-agent': 'temper', ...(token ? { authorization: `Bearer ${token}` } : {}) };
    this.#retryDelayMs = options.retryDelayMs ?? 500;
    this.#signal = options.signal ?? null;
  }

  /** Returns the commit that a branch, a tag or a commit prefix names. */
  async commitOf(id: string, revision: string): Promise<string> {
    const response = await this.#request(`/api/models/${id}/revision/${encodeURIComponent(revision)}`, id);
    const { sha } = (await response.json()) as { sha?: unknown };
    if (typeof sha !== 'string' || !/^[0-9a-f]{40}$/.test(sha)) {
      throw new ModelError(`${this.endpoint}: gives no commit for ${id} at ${revision}`);
    }
    return sha;
  }

  /** Returns every file of a commit, through all pages. */
  async files(id: string, commit: string): Promise<HubFile[]> {
    const files: HubFile[] = [];
    let next: string | null = `/api/models/${id}/tree/${commit}?recursive=true`;
    while (next !== null) {
      const response: Response = await this.#request(next, id);
      for (const entry of (await response.json()) as TreeEntry[]) {
        if (entry.type === 'file') files.push(hubFile(entry));
      }
      const link = /<([^>]+)>;\s*rel="next"/.exec(response.headers.get('link') ?? '');
      next = link === null ? null : this.#ownPath(link[1]!);
    }
    return files;
  }

  /**
   * Returns the bytes of a file from `start` on; `from` says where they really begin, which is 0 where ranges are not
   * served.
   */
  async content(
    id: string,
    commit: string,
    file: string,
    start: number,
  ): Promise<{ from: number; body: AsyncIterable<Uint8Array> }> {
    const url = `/${id}/resolve/${commit}/${file.split('/').map(encodeURIComponent).join('/')}`;
    const response = await this.#request(url, id, start > 0 ? { range: `bytes=${start}-` } : {});
    const body = response.body as AsyncIterable<Uint8Array> | null;
    if (body === null) throw new ServiceUnavailable(`${this.endpoint}${url}: an empty answer`);
    return { from: response.status === 206 ? start : 0, body };
  }

  /** Retries what may pass (no connection, 408, 429, 5xx) and gives every other failure its meaning. */
  async #request(path: string, id: string, headers: Record<string, string> = {}): Promise<Response> {
    const url = `${this.endpoint}${path}`;
    for (let attempt = 1; ; attempt++) {
      let failure: string;
      try {
        const response = await fetch(url, {
          headers: { ...this.#headers, ...headers },
          signal: this.#signal,
        });
        if (response.ok) return response;
        await response.body?.cancel();
        if (response.status !== 408 && response.status !== 429 && response.status < 500)
          throw refusal(response.status, id, url);
        failure = `answers ${response.status}`;
      } catch (cause) {
        if (cause instanceof ModelError || this.#signal?.aborted) throw cause;
        failure = describeCause(cause);
      }
      if (attempt === attempts)
        throw new ServiceUnavailable(`${url}: ${failure}, after ${attempts} attempts`);
      await new Promise((resolve) => setTimeout(resolve, this.#retryDelayMs * 2 ** (attempt - 1)));
    }
  }

  /** Returns the path of a page's address, which must stay at the endpoint: the token is sent with it. */
  #ownPath(link: string): string {
    const url = new URL(link, this.endpoint);
    if (url.origin !== new URL(this.endpoint).origin)
      throw new ModelError(`${this.endpoint}: its list of files continues at another address, ${url.origin}`);
    const base = new URL(this.endpoint).pathname.replace(/\/+$/, '');
    return `${url.pathname.slice(base.length)}${url.search}`;
  }
}

interface TreeEntry {
  type: string;
  path: string;
  size: number;
  oid: string;
  lfs?: { oid: string; size: number } | null;
}

function hubFile({ path, size, oid, lfs }: TreeEntry): HubFile {
  return lfs
    ? { path, bytes: lfs.size, checksum: { algorithm: 'sha256', value: lfs.oid.replace(/^sha256:/, '') } }
    : { path, bytes: size, checksum: { algorithm: 'git-sha1', value: oid } };
}

function refusal(status: number, id: string, url: string): ModelError {
  if (status === 401 || status === 403) {
    return new ModelError(
      `${id}: the hub refuses access (${status}). It may be private, gated or misspelled: accept its terms on its page and set HF_TOKEN`,
    );
  }
  if (status === 404) return new ModelError(`${id}: the hub has no such model, revision or file (${url})`);
  return new ModelError(`${id}: the hub answers ${status} to ${url}`);
}

function describeCause(cause: unknown): string {
  const inner = (cause as { cause?: unknown }).cause;
  return errorMessage(inner instanceof Error ? inner : cause);
}
