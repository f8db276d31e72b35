/** Checks that the cache and the storage roots can be written and have space, and which credentials are present. */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { firstLine } from '../../shared/format.js';
import {
  isS3,
  openStorage,
  requireExclusiveCreation,
  type StorageRoots,
} from '../../shared/storage/index.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** Bytes below which the first model would fill the disk. */
const leastSpace = 5e9;

export async function checkStorage({ roots, cache }: StorageRoots): Promise<Finding[]> {
  const findings = [await checkLocation('cache', cache, 'TEMPER_CACHE', { holdsRuns: false })];
  if (roots === null)
    return [
      ...findings,
      ok('storage roots', 'not set (TEMPER_ROOTS): runs may access whatever this user may'),
    ];
  for (const root of roots) {
    if (root !== cache)
      findings.push(await checkLocation('storage root', root, 'TEMPER_ROOTS', { holdsRuns: true }));
  }
  return findings;
}

/**
 * Writes, reads back and deletes a small object: there, or where the folder would be made. Where runs are kept, it must
 * also be possible to create one exclusively. Nothing stays behind.
 */
async function checkLocation(
  name: string,
  uri: string,
  variable: string,
  { holdsRuns }: { holdsRuns: boolean },
): Promise<Finding> {
  const key = `.doctor-${randomUUID()}`;
  const probed = isS3(uri) ? uri : existingAncestor(uri);
  try {
    const storage = await openStorage(probed, { roots: null });
    await storage.write(key, Buffer.from(key));
    const readBack = (await storage.read(key)).toString();
    await storage.delete(key);
    if (readBack !== key) throw new Error('what was read back is not what was written');
    if (holdsRuns) await requireExclusiveCreation(storage);
  } catch (error) {
    return fail(
      name,
      `${uri}: ${firstLine(error)}`,
      `make it writable, or set ${variable} to another location`,
    );
  }
  if (isS3(uri)) return ok(name, `${uri}: is writable`);
  const { bavail, bsize } = await statfs(probed);
  const free = bavail * bsize;
  const absent = probed === uri ? '' : '; it is created when it is first written to';
  const detail = `${uri}: ${(free / 1e9).toFixed(1)} GB free${absent}`;
  return free >= leastSpace
    ? ok(name, detail)
    : warn(name, detail, `free some space, or set ${variable} to another location`);
}

/** Returns the folder itself, or the nearest one above it that exists. */
function existingAncestor(folder: string): string {
  let ancestor = folder;
  while (!existsSync(ancestor) && path.dirname(ancestor) !== ancestor) ancestor = path.dirname(ancestor);
  return ancestor;
}

/** Says which credentials are present, never what they are. */
export function checkCredentials(environment: NodeJS.ProcessEnv = process.env): Finding[] {
  const aws = [
    'AWS_ACCESS_KEY_ID',
    'AWS_PROFILE',
    'AWS_WEB_IDENTITY_TOKEN_FILE',
    'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  ];
  const variables = aws.filter((variable) => environment[variable]);
  const file = environment.AWS_SHARED_CREDENTIALS_FILE || path.join(homedir(), '.aws', 'credentials');
  const awsDetail =
    variables.length > 0 ? `${variables.join(', ')} set` : existsSync(file) ? `in ${file}` : null;
  return [
    ok(
      'hugging face',
      environment.HF_TOKEN ? 'HF_TOKEN set' : 'HF_TOKEN not set; only gated and private models need it',
    ),
    ok('aws', awsDetail ?? 'no credentials found; only s3:// needs them'),
  ];
}
