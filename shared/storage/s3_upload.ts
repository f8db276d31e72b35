/** Multipart uploads of streams of unknown length. An object appears when its last part is acknowledged, or never. */
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';

const firstPartBytes = 8 << 20;
/** Parts of one object, by the protocol; sizes double every tenth of them, so that an object may have 8 TiB. */
const maxParts = 10_000;
const parallelParts = 4;

/** Uploads a stream, holding five parts at most. Its chunks must not change after they are given. */
export async function uploadParts(
  client: S3Client,
  object: { Bucket: string; Key: string },
  data: AsyncIterable<Uint8Array>,
): Promise<void> {
  const parts = cutIntoParts(data);
  const first = await parts.next();
  if (first.done || first.value.length < firstPartBytes) {
    await client.send(new PutObjectCommand({ ...object, Body: first.done ? new Uint8Array() : first.value }));
    return;
  }
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(object));
  try {
    const Parts = await sendParts(client, { ...object, UploadId: UploadId! }, first.value, parts);
    await client.send(
      new CompleteMultipartUploadCommand({ ...object, UploadId, MultipartUpload: { Parts } }),
    );
  } catch (error) {
    await client.send(new AbortMultipartUploadCommand({ ...object, UploadId })).catch(() => undefined);
    throw error;
  }
}

async function sendParts(
  client: S3Client,
  upload: { Bucket: string; Key: string; UploadId: string },
  first: Buffer,
  rest: AsyncIterable<Buffer>,
): Promise<CompletedPart[]> {
  const completed: CompletedPart[] = [];
  const sending = new Set<Promise<void>>();
  let failure: { error: unknown } | null = null;
  const send = (Body: Buffer): void => {
    const PartNumber = completed.push({}) as number;
    const sent: Promise<void> = client
      .send(new UploadPartCommand({ ...upload, PartNumber, Body }))
      .then(
        ({ ETag }) => {
          completed[PartNumber - 1] = { ETag, PartNumber };
        },
        (error: unknown) => {
          failure ??= { error };
        },
      )
      .finally(() => sending.delete(sent));
    sending.add(sent);
  };
  const check = (): void => {
    if (failure !== null) throw (failure as { error: unknown }).error;
  };
  try {
    send(first);
    for await (const part of rest) {
      if (sending.size >= parallelParts) await Promise.race(sending);
      check();
      send(part);
    }
  } finally {
    // An upload may only be aborted when no part is under way, or that part would stay (and be paid for).
    await Promise.all(sending);
  }
  check();
  return completed;
}

/** Joins and cuts chunks to parts: each of the size due at its number, the last one shorter. */
async function* cutIntoParts(data: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let held: Uint8Array[] = [];
  let bytes = 0;
  let number = 1;
  for await (const chunk of data) {
    let rest = chunk;
    for (let due = partBytes(number) - bytes; rest.length >= due; due = partBytes(number)) {
      held.push(rest.subarray(0, due));
      rest = rest.subarray(due);
      yield Buffer.concat(held);
      number += 1;
      held = [];
      bytes = 0;
    }
    if (rest.length > 0) held.push(rest);
    bytes += rest.length;
  }
  if (bytes > 0) yield Buffer.concat(held);
}

function partBytes(number: number): number {
  return firstPartBytes * 2 ** Math.floor((number - 1) / (maxParts / 10));
}
