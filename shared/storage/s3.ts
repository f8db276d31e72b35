/** Storage in a bucket of S3 or of a server that speaks its protocol with conditional writes. */
import { Readable } from 'node:stream';
import * as s3 from '@aws-sdk/client-s3';
import { S3Client } from '@aws-sdk/client-s3';
import { StorageError } from '../errors.js';
import { checkKey, checkPrefix } from './key.js';
import {
  explainS3,
  isAbsent,
  isConflict,
  isInterrupted,
  isRefused,
  isTaken,
  wasRetried,
} from './s3_errors.js';
import { uploadParts } from './s3_upload.js';
import type { Storage, StoredObject, UnfinishedWrite } from './storage.js';

/** Keys in one DeleteObjects request, as the protocol limits it. */
const deleteBatch = 1000;
const streamAttempts = 4;

/** Opens canonical `s3://bucket/prefix`. Nothing is sent yet. */
export function openS3(uri: string): Storage {
  const [bucket, ...prefix] = uri.slice('s3://'.length).split('/');
  return new S3Storage(createClient(process.env), bucket!, prefix.join('/'));
}

/**
 * Creates a client. Endpoint, region and credentials come from the standard AWS environment and profiles. A server
 * other than Amazon's gets what all of them understand: the bucket in the path, and no checksum headers beyond the
 * required.
 */
function createClient(env: NodeJS.ProcessEnv): S3Client {
  // Otherwise the client warns every user of Node 20 that its later versions will want a newer one.
  env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const endpoint = env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL;
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION;
  return new S3Client({
    maxAttempts: 5,
    requestHandler: { connectionTimeout: 10_000, socketTimeout: 60_000 },
    ...(region && { region }),
    ...(endpoint && {
      endpoint,
      forcePathStyle: true,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      ...(!region && { region: 'us-east-1' }),
    }),
  });
}

class S3Storage implements Storage {
  readonly folder = null;
  readonly uri: string;

  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #prefix: string;

  constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client;
    this.#bucket = bucket;
    this.#prefix = prefix;
    this.uri = prefix === '' ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
  }

  async size(key: string): Promise<number | null> {
    const object = this.#object(key);
    try {
      const head = await this.#client.send(new s3.HeadObjectCommand(object));
      return head.ContentLength ?? 0;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw explainS3(this.#location(key), 'cannot be inspected', error);
    }
  }

  async read(key: string): Promise<Buffer> {
    return collect(this.readStream(key));
  }

  async readRange(key: string, start: number, end: number): Promise<Buffer> {
    return collect(this.readStream(key, start, end));
  }

  readStream(key: string, start = 0, end?: number): Readable {
    return Readable.from(this.#readChunks(key, start, end ?? null), { objectMode: false });
  }

  /** Asks again from where it stopped when a connection breaks in the middle of an object. */
  async *#readChunks(key: string, start: number, end: number | null): AsyncGenerator<Buffer> {
    const object = this.#object(key);
    if (end !== null && end <= start) return;
    let position = start;
    for (let attempt = 1; ; attempt += 1) {
      try {
        const range =
          position === 0 && end === null ? {} : { Range: `bytes=${position}-${end === null ? '' : end - 1}` };
        const { Body } = await this.#client.send(new s3.GetObjectCommand({ ...object, ...range }));
        for await (const chunk of Body as Readable) {
          position += (chunk as Buffer).length;
          yield chunk as Buffer;
        }
        break;
      } catch (error) {
        if (!isInterrupted(error) || attempt === streamAttempts) {
          throw explainS3(this.#location(key), 'cannot be read', error);
        }
      }
    }
    if (end !== null && position < end) {
      throw new StorageError(`${this.#location(key)}: ends at byte ${position}, before ${end}`);
    }
  }

  async write(key: string, data: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
    const object = this.#object(key);
    try {
      if (data instanceof Uint8Array && data.length <= 64 << 20) {
        await this.#client.send(new s3.PutObjectCommand({ ...object, Body: data }));
      } else {
        await uploadParts(this.#client, object, data instanceof Uint8Array ? once(data) : data);
      }
    } catch (error) {
      throw explainS3(this.#location(key), 'cannot be written', error);
    }
  }

  async createExclusive(key: string, data: Uint8Array): Promise<boolean> {
    const object = { ...this.#object(key), Body: data, IfNoneMatch: '*' };
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#client.send(new s3.PutObjectCommand(object));
        return true;
      } catch (error) {
        if (isTaken(error)) return wasRetried(error) && this.#wroteItself(key, data);
        // 409: another conditional write of this key is under way; S3 asks to try again.
        if (!isConflict(error) || attempt === 10) {
          throw explainS3(this.#location(key), 'cannot be created', error);
        }
        await new Promise((resolve) => setTimeout(resolve, 20 * attempt));
      }
    }
  }

  /**
   * Returns whether a retried request met the object of its own first attempt. Distinct writers write distinct bytes.
   */
  async #wroteItself(key: string, data: Uint8Array): Promise<boolean> {
    return (await this.size(key)) === data.length && (await this.read(key)).equals(data);
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    checkPrefix(this.uri, prefix);
    const root = this.#prefix === '' ? '' : `${this.#prefix}/`;
    let ContinuationToken: string | undefined;
    do {
      const page: s3.ListObjectsV2CommandOutput = await this.#client
        .send(
          new s3.ListObjectsV2Command({
            Bucket: this.#bucket,
            Prefix: `${root}${prefix}`,
            ContinuationToken,
          }),
        )
        .catch((error: unknown) => {
          throw explainS3(`${this.uri}/${prefix}`, 'cannot be listed', error);
        });
      for (const { Key } of page.Contents ?? []) {
        if (Key !== undefined && !Key.endsWith('/')) yield { key: Key.slice(root.length) };
      }
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined);
  }

  /**
   * Yields unfinished uploads; none when the server does not list them or the credentials may not: they cost space, not
   * correctness.
   */
  async *unfinished(prefix: string): AsyncIterable<UnfinishedWrite> {
    checkPrefix(this.uri, prefix);
    const root = this.#prefix === '' ? '' : `${this.#prefix}/`;
    const Bucket = this.#bucket;
    let next: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | null = {};
    while (next !== null) {
      const page: s3.ListMultipartUploadsCommandOutput | null = await this.#client
        .send(new s3.ListMultipartUploadsCommand({ Bucket, Prefix: `${root}${prefix}`, ...next }))
        .catch((error: unknown) => {
          if (isRefused(error)) return null;
          throw explainS3(`${this.uri}/${prefix}`, 'unfinished uploads cannot be listed', error);
        });
      for (const { Key, UploadId, Initiated } of page?.Uploads ?? []) {
        if (Key === undefined || UploadId === undefined) continue;
        const discard = async (): Promise<void> => {
          await this.#client
            .send(new s3.AbortMultipartUploadCommand({ Bucket, Key, UploadId }))
            .catch((error: unknown) => {
              if (!isAbsent(error))
                throw explainS3(`s3://${Bucket}/${Key}`, 'an upload cannot be aborted', error);
            });
        };
        yield { key: Key.slice(root.length), startedAt: Initiated ?? new Date(0), discard };
      }
      next = page?.IsTruncated
        ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
        : null;
    }
  }

  async delete(key: string): Promise<void> {
    await this.#client.send(new s3.DeleteObjectCommand(this.#object(key))).catch((error: unknown) => {
      if (!isAbsent(error)) throw explainS3(this.#location(key), 'cannot be deleted', error);
    });
  }

  async deletePrefix(prefix: string): Promise<void> {
    let batch: string[] = [];
    for await (const { key } of this.list(prefix)) {
      batch.push(key);
      if (batch.length === deleteBatch) {
        await this.#deleteAll(batch);
        batch = [];
      }
    }
    if (batch.length > 0) await this.#deleteAll(batch);
  }

  async #deleteAll(keys: string[]): Promise<void> {
    const Objects = keys.map((key) => ({ Key: this.#object(key).Key }));
    const result = await this.#client
      .send(new s3.DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects, Quiet: true } }))
      .catch((error: unknown) => {
        throw explainS3(this.uri, 'cannot be deleted from', error);
      });
    const failed = result.Errors?.[0];
    if (failed !== undefined) {
      throw new StorageError(
        `s3://${this.#bucket}/${failed.Key}: cannot be deleted: ${failed.Message} (${failed.Code})`,
      );
    }
  }

  at(inner: string): Storage {
    checkKey(this.uri, inner);
    return new S3Storage(
      this.#client,
      this.#bucket,
      this.#prefix === '' ? inner : `${this.#prefix}/${inner}`,
    );
  }

  #object(key: string): { Bucket: string; Key: string } {
    checkKey(this.uri, key);
    return { Bucket: this.#bucket, Key: this.#prefix === '' ? key : `${this.#prefix}/${key}` };
  }

  #location(key: string): string {
    return `${this.uri}/${key}`;
  }
}

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function* once(data: Uint8Array): AsyncGenerator<Uint8Array> {
  yield data;
}
