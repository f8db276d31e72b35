/** fetch as uploads use it: what may pass is tried again, but never a commit, whose answer may have been lost on the way back. */
import { ServiceUnavailable } from '../../../shared/errors.js';
import { errorMessage } from '../../../shared/format.js';
import { UploadBlob } from './upload_blob.js';

/** A commit whose outcome is unknown. */
export class UnansweredCommit extends Error {}

export interface HubFetchOptions {
  /** Milliseconds before the first retry; doubles with each. */
  retryDelayMs: number;
  signal: AbortSignal | null;
  /** A file's bytes are about to be sent. */
  onUpload(): void;
}

const attempts = 5;
/** ms that a hub which is asked too often may make us wait. */
const longestPause = 60_000;

export class HubFetch {
  readonly #options: HubFetchOptions;

  constructor(options: HubFetchOptions) {
    this.#options = options;
  }

  /** @throws ServiceUnavailable after five attempts, UnansweredCommit for a commit after one */
  readonly fetch: typeof fetch = async (input, init) => {
    const url = String(input instanceof Request ? input.url : input);
    const isCommit = init?.method === 'POST' && /\/api\/models\/[^/]+\/[^/]+\/commit\//.test(url);
    if (init?.body instanceof UploadBlob) this.#options.onUpload();
    for (let attempt = 1; ; attempt++) {
      let failure: string;
      let wait = 0;
      try {
        const response = await fetch(input, { signal: this.#options.signal, ...init });
        if (response.status !== 408 && response.status !== 429 && response.status < 500) return response;
        await response.body?.cancel();
        failure = `answers ${response.status}`;
        wait = 1000 * (Number(response.headers.get('retry-after')) || 0);
      } catch (error) {
        if (isAborted(error)) throw error;
        failure = reasonOf(error);
      }
      if (isCommit) throw new UnansweredCommit(`${url}: ${failure}`);
      if (attempt === attempts)
        throw new ServiceUnavailable(
          `${withoutQuery(url)}: ${failure}, after ${attempts} attempts; what was uploaded is kept: publish again`,
        );
      await this.pause(attempt, wait);
    }
  };

  /** Waits before the attempt that follows, `atLeast` ms. */
  async pause(attempt: number, atLeast = 0): Promise<void> {
    const ms = Math.max(this.#options.retryDelayMs * 2 ** (attempt - 1), Math.min(atLeast, longestPause));
    await new Promise((resolve) => setTimeout(resolve, ms));
    this.#options.signal?.throwIfAborted();
  }
}

const isAborted = (error: unknown) => (error as { name?: string }).name === 'AbortError';

function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  if (cause instanceof Error) return cause.message || (cause as NodeJS.ErrnoException).code || cause.name;
  return errorMessage(error);
}

/** Addresses to upload to carry a signature, which belongs in no log. */
const withoutQuery = (url: string) => url.replace(/\?.*$/, '');
