/** The bytes of an entry of the commit log: `{"crc32c":"<8 hex digits>","entry":<text>}`, the checksum being that of the text. */
import { z } from 'zod';
import { type CommitEntry, commitEntrySchema } from '../../contracts/index.js';
import { crc32c } from '../../engine/index.js';
import { migrateVersion1, version1Schema } from './version_1.js';

const prefix = '{"crc32c":"';
const middle = '","entry":';

export function formatCommitFile(entry: CommitEntry): Buffer {
  const body = Buffer.from(JSON.stringify(entry));
  return Buffer.concat([
    Buffer.from(`${prefix}${formatChecksum(crc32c(body))}${middle}`),
    body,
    Buffer.from('}\n'),
  ]);
}

/** Returns the entry, or in words what is wrong. */
export function parseCommitFile(bytes: Buffer): CommitEntry | string {
  const start = prefix.length + 8 + middle.length;
  if (bytes.length < start + 2) return `truncated to ${bytes.length} bytes`;
  const framed =
    bytes.toString('latin1', 0, prefix.length) === prefix &&
    bytes.toString('latin1', start - middle.length, start) === middle &&
    bytes.toString('latin1', bytes.length - 2) === '}\n';
  if (!framed) return 'truncated, or not a commit entry';
  const declared = bytes.toString('latin1', prefix.length, prefix.length + 8);
  const body = bytes.subarray(start, bytes.length - 2);
  const actual = formatChecksum(crc32c(body));
  if (declared !== actual) return `its checksum is ${actual}, not ${declared}: the file was damaged`;
  try {
    return parseEntry(JSON.parse(body.toString('utf8')));
  } catch (error) {
    return `not valid JSON: ${error instanceof Error ? error.message : error}`;
  }
}

function parseEntry(value: unknown): CommitEntry | string {
  const old = z.object({ version: z.literal(1) }).safeParse(value).success;
  const result = old ? version1Schema.safeParse(value) : commitEntrySchema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    return `not an entry that this version of Temper understands: ${issue.path.join('.')}: ${issue.message}`;
  }
  return result.data.version === 1 ? migrateVersion1(result.data) : result.data;
}

const formatChecksum = (checksum: number): string => checksum.toString(16).padStart(8, '0');
