/** The location to publish a model to, as a recipe or a command line names it. */
import path from 'node:path';
import { canonicalUri, isS3 } from '../../shared/storage/index.js';

export type PublishLocation =
  | {
      kind: 'storage';
      /** Canonical. */
      uri: string;
      /** Its parent, and its name there. */
      parent: string;
      name: string;
    }
  | { kind: 'hub'; id: string; branch: string };

const namePart = '[A-Za-z0-9](?:[\\w.-]*[A-Za-z0-9_])?';
const hubPattern = new RegExp(`^hf://(${namePart}/${namePart})(?:@([^\\s@:?*\\[\\\\^~]+))?$`);

/** Returns the problem with a location, or null. */
export function publishLocationProblem(text: string): string | null {
  if (/^\/*$/.test(text)) return 'names no location; write a folder, s3://bucket/prefix or hf://owner/name';
  if (/^hf:\/\//i.test(text))
    return hubPattern.test(text)
      ? null
      : 'a repository of the hub is written hf://owner/name or hf://owner/name@branch';
  if (isS3(text))
    return /^s3:\/\/[^/]+\/+[^/]/.test(text)
      ? null
      : 'a whole bucket cannot be replaced; write s3://bucket/prefix';
  const scheme = /^([a-z][a-z0-9+.-]+):\/\//i.exec(text)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== 'file')
    return `'${scheme}://' is not known; write a folder, s3://bucket/prefix or hf://owner/name`;
  return null;
}

/** Reads a location that has no problem. */
export function parsePublishLocation(text: string): PublishLocation {
  const [, id, branch = 'main'] = hubPattern.exec(text) ?? [];
  if (id !== undefined) return { kind: 'hub', id, branch };
  const uri = canonicalUri(text);
  const name = path.posix.basename(uri);
  return { kind: 'storage', uri, parent: uri.slice(0, -name.length - 1) || '/', name };
}
