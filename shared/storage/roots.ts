/** Decides where a worker may read and write: its storage roots and the cache of packs and weights. */
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { StorageError } from '../errors.js';

export interface StorageRoots {
  /** Canonical URIs, the cache included; null when everything is allowed that the process's user may touch. */
  roots: readonly string[] | null;
  /** Canonical URI of the cache. */
  cache: string;
}

/**
 * Returns the roots of a worker. `TEMPER_ROOTS` (separated by `:`, plain paths or URIs) goes before `configured`; where
 * neither is given, nothing is refused. `TEMPER_CACHE` names the cache, `~/.cache/temper` otherwise; it is always
 * allowed.
 */
export function resolveRoots(
  configured: readonly string[] | null,
  env: Record<string, string | undefined> = process.env,
): StorageRoots {
  const cache = canonicalUri(env.TEMPER_CACHE || path.join(env.HOME || homedir(), '.cache', 'temper'));
  const named = env.TEMPER_ROOTS ? splitRoots(env.TEMPER_ROOTS) : configured;
  if (named === null) return { roots: null, cache };
  return { roots: [...new Set([...named.map((root) => canonicalUri(root)), cache])], cache };
}

/** Splits a list at `:`, but not at the one in `s3://` or `file://`. */
function splitRoots(list: string): string[] {
  return list.split(/:(?!\/\/)/).filter((root) => root !== '');
}

export function isS3(uri: string): boolean {
  return uri.startsWith('s3://');
}

/**
 * Returns the one spelling of a location: an absolute path for a folder (what transformers and peft take), or
 * `s3://bucket/prefix`; never a trailing slash. Relative paths start at `base`, which may itself be on S3.
 */
export function canonicalUri(uri: string, base: string = process.cwd()): string {
  if (isS3(uri)) return canonicalS3(uri);
  if (uri.startsWith('file:')) return path.resolve(fileUrlPath(uri));
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(uri)?.[1];
  if (scheme !== undefined) {
    throw new StorageError(`${uri}: storage is a path, file:// or s3://; '${scheme}://' is not known`);
  }
  if (uri === '' || uri.includes('\0')) throw new StorageError(`${JSON.stringify(uri)} is not a path`);
  if (path.isAbsolute(uri)) return path.resolve(uri);
  if (isS3(base)) return canonicalS3(`${base}/${uri}`);
  return path.resolve(base.startsWith('file:') ? fileUrlPath(base) : base, uri);
}

function fileUrlPath(uri: string): string {
  try {
    return fileURLToPath(uri);
  } catch (cause) {
    throw new StorageError(`${uri}: not a file URI of this machine (file:///path)`, { cause });
  }
}

function canonicalS3(uri: string): string {
  const [bucket, ...parts] = uri.slice('s3://'.length).split('/');
  if (!bucket) throw new StorageError(`${uri}: names no bucket; write s3://bucket/prefix`);
  const prefix: string[] = [];
  for (const part of parts) {
    if (part === '..' && prefix.length === 0) throw new StorageError(`${uri}: leads out of the bucket`);
    if (part === '..') prefix.pop();
    else if (part !== '' && part !== '.') prefix.push(part);
  }
  return ['s3:/', bucket, ...prefix].join('/');
}

/** Returns whether canonical `uri` is one of the roots or is below one. */
export function isWithin(uri: string, roots: readonly string[] | null): boolean {
  if (roots === null) return true;
  return roots.some((root) => uri === root || uri.startsWith(root.endsWith('/') ? root : `${root}/`));
}

/** Returns the error for a location outside the roots. */
export function outsideRoots(uri: string, roots: readonly string[]): StorageError {
  return new StorageError(
    `${uri}: is outside the storage roots of this worker (${roots.join(', ')}); move it there, or add its folder to TEMPER_ROOTS or to the roots in temporal.config.ts`,
  );
}
