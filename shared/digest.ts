/** Digests that identify recipes, plans, packs and files. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';

/**
 * Returns JSON with object keys in code-unit order and no white space: equal values give equal text. `undefined`
 * properties are left out; numbers that JSON cannot hold (NaN, infinities) are refused, because they would all become
 * `null`.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (key, entry: unknown) => {
    if (typeof entry === 'number' && !Number.isFinite(entry)) {
      throw new TypeError(`${key === '' ? 'the value' : `'${key}'`} is ${entry}, which JSON cannot hold`);
    }
    if (entry === null || typeof entry !== 'object' || Array.isArray(entry)) return entry;
    const object = entry as Record<string, unknown>;
    return Object.fromEntries(
      Object.keys(object)
        .sort()
        .map((name) => [name, object[name]]),
    );
  });
}

/** Returns the sha256 in lower-case hexadecimal, of text (as UTF-8) or bytes. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/** Returns the sha256 of the canonical JSON of a value. */
export function digestOf(value: unknown): string {
  return sha256(canonicalJson(value));
}

/** Returns the sha256 and length of a file, read as a stream. */
export async function digestFile(
  file: string,
  signal?: AbortSignal,
): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20, ...(signal && { signal }) })) {
    hash.update(chunk as Buffer);
    bytes += (chunk as Buffer).length;
  }
  return { sha256: hash.digest('hex'), bytes };
}
