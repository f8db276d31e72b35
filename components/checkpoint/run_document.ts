/** `run.json`: whose folder this is, and how far the run came. Claiming it decides between new, resume and refusal. */
import {
  evaluationPrefix,
  generationPrefix,
  metricsKey,
  type RunDocument,
  runDocumentKey,
  runDocumentSchema,
  samplesPrefix,
} from '../../contracts/index.js';
import { canonicalJson } from '../../shared/digest.js';
import { CheckpointError } from '../../shared/errors.js';
import { probePrefix, readDocument, type Storage } from '../../shared/storage/index.js';
import { appendRetirement, readLog, takeGeneration } from './commit_log.js';

/**
 * Reads a run's document; null when there is none.
 * @throws CheckpointError when it cannot be understood, or is too long to be read
 */
export async function readRunDocument(storage: Storage): Promise<RunDocument | null> {
  const bytes = await readDocument(storage, runDocumentKey);
  if (bytes === null) return null;
  const wrong = (problem: string): CheckpointError =>
    new CheckpointError(
      `${storage.uri}/${runDocumentKey}: ${problem}; restore the file, or give the run another output_dir`,
    );
  if (typeof bytes === 'string') throw wrong(bytes);
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw wrong(`not valid JSON: ${error instanceof Error ? error.message : error}`);
  }
  const result = runDocumentSchema.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw wrong(`not a run document of this version: ${issue.path.join('.')}: ${issue.message}`);
}

export interface RunClaim {
  /** The run's name: its workflow's id. */
  runId: string;
  recipeDigest: string;
  workflow: RunDocument['workflow'];
  /** Start over: give up what this run has in the folder. Another run's folder is refused all the same. */
  fresh: boolean;
  /** The recipe that the folder was last claimed with (null when that is not known), and the one now given. */
  recipes: { previous: unknown; next: unknown };
  /** Dotted keys that a resume may not change, e.g. `model`, `training.optimizer`. */
  guarded: readonly string[];
}

export interface ClaimedRun {
  /** `completed`: nothing is left to do, and the document has the result; nothing was written. */
  kind: 'new' | 'resumed' | 'completed';
  document: RunDocument;
}

/**
 * Claims a run's folder. Two claims at once are harmless: the host that takes the newer generation trains.
 *
 * @throws CheckpointError when the folder is another run's, when it has no run.json but other files, and when a resume
 * would change a guarded key
 */
export async function claimRun(storage: Storage, claim: RunClaim): Promise<ClaimedRun> {
  const existing = await readRunDocument(storage);
  if (existing === null) {
    await refuseForeignFiles(storage);
    const document = newDocument(claim);
    if (await storage.createExclusive(runDocumentKey, encode(document))) return { kind: 'new', document };
    return claimRun(storage, claim);
  }
  if (existing.run !== claim.runId) {
    throw new CheckpointError(
      `${storage.uri} belongs to the run '${existing.run}' (${existing.state}), not to '${claim.runId}': give this run an output_dir of its own`,
    );
  }
  if (claim.fresh) {
    await startOver(storage, claim.runId);
    return { kind: 'new', document: await write(storage, newDocument(claim)) };
  }
  if (existing.state === 'completed' || existing.state === 'stopped')
    return { kind: 'completed', document: existing };
  refuseChanges(storage, claim);
  const document: RunDocument = {
    ...existing,
    recipeDigest: claim.recipeDigest,
    state: 'running',
    workflow: claim.workflow,
    updatedAt: new Date().toISOString(),
    failure: null,
  };
  return { kind: 'resumed', document: await write(storage, document) };
}

/**
 * Changes a run's document.
 * @throws CheckpointError when the folder is not, or no longer, this run's
 */
export async function updateRunDocument(
  storage: Storage,
  runId: string,
  change: Partial<Pick<RunDocument, 'state' | 'result' | 'failure' | 'workflow'>>,
): Promise<RunDocument> {
  const existing = await readRunDocument(storage);
  if (existing?.run !== runId) {
    const owner = existing === null ? 'has no run.json' : `belongs to the run '${existing.run}'`;
    throw new CheckpointError(`${storage.uri} ${owner}; the run '${runId}' cannot record its state there`);
  }
  return write(storage, { ...existing, ...change, updatedAt: new Date().toISOString() });
}

/**
 * Returns the dotted keys at which two recipes differ, at or below `guarded`. A value that is missing on one side
 * differs, unless it is undefined or null on the other.
 */
export function differingKeys(previous: unknown, next: unknown, guarded: readonly string[]): string[] {
  return guarded.flatMap((name) => {
    const path = name.split('.');
    return differences(at(previous, path), at(next, path), name);
  });
}

function differences(a: unknown, b: unknown, name: string): string[] {
  if (isObject(a) && isObject(b)) {
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
    return keys.flatMap((inner) => differences(a[inner], b[inner], `${name}.${inner}`));
  }
  return canonicalJson(a ?? null) === canonicalJson(b ?? null) ? [] : [name];
}

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function refuseChanges(storage: Storage, { runId, recipes, guarded }: RunClaim): void {
  if (recipes.previous === null) return;
  const changedKeys = differingKeys(recipes.previous, recipes.next, guarded);
  if (changedKeys.length === 0) return;
  throw new CheckpointError(
    `the run '${runId}' in ${storage.uri} cannot continue with another ${changedKeys.join(', ')}: restore ${changedKeys.length === 1 ? 'that key' : 'those keys'}, choose another name and output_dir, or start over with --new`,
  );
}

/** Refuses a folder without run.json that holds files: they are not a run's, and a run would overwrite them. */
async function refuseForeignFiles(storage: Storage): Promise<void> {
  for await (const file of storage.list('')) {
    if (file.key === runDocumentKey) return; // created by another claim a moment ago
    if (file.key.startsWith(probePrefix)) continue;
    throw new CheckpointError(
      `${storage.uri} is not empty (${file.key}), but has no run.json that names its run: choose another output_dir, or move the files away`,
    );
  }
}

/**
 * Gives up everything of the earlier run but what it published. The log is not deleted but continued: a process of the
 * earlier run that is still alive stays fenced, which a log that counts from one again could not promise.
 */
async function startOver(storage: Storage, runId: string): Promise<void> {
  for await (const _ of readLog(storage)) {
    const { generation } = await takeGeneration(storage, { holder: `fresh.${runId}`, worldSize: 1 });
    await appendRetirement(storage, { kind: 'retirement', generation, keep: [] });
    for (let older = 1; older <= generation; older += 1) await storage.deletePrefix(generationPrefix(older));
    for await (const write of storage.unfinished('g')) await write.discard();
    break;
  }
  await deleteEvaluations(storage);
  await storage.delete(metricsKey);
  await deleteMatching(storage, 'loggers/', /^loggers\/[^/]+\.json$/);
}

/** Deletes what evaluations wrote. Anything else in the two folders belongs to the user. */
async function deleteEvaluations(storage: Storage): Promise<void> {
  await deleteMatching(storage, evaluationPrefix, /^evaluation\/(history\.json$|step-\d+-[0-9a-f]{12}\/)/);
  const ours: string[] = [];
  for await (const { key: file } of storage.list(samplesPrefix)) {
    if (/^samples\/[^/]+\.jsonl$/.test(file) && (await holdsAnswers(storage, file))) ours.push(file);
  }
  for (const file of ours) await storage.delete(file);
}

async function deleteMatching(storage: Storage, prefix: string, pattern: RegExp): Promise<void> {
  const ours: string[] = [];
  for await (const { key: file } of storage.list(prefix)) if (pattern.test(file)) ours.push(file);
  for (const file of ours) await storage.delete(file);
}

async function holdsAnswers(storage: Storage, file: string): Promise<boolean> {
  const [line] = (await storage.read(file)).toString('utf8').split('\n', 1);
  try {
    return isObject(at(JSON.parse(line!), ['answers']));
  } catch {
    return false;
  }
}

function newDocument({ runId, recipeDigest, workflow }: RunClaim): RunDocument {
  const now = new Date().toISOString();
  return {
    version: 1,
    run: runId,
    recipeDigest,
    state: 'running',
    workflow,
    startedAt: now,
    updatedAt: now,
    result: null,
    failure: null,
  };
}

async function write(storage: Storage, document: RunDocument): Promise<RunDocument> {
  await storage.write(runDocumentKey, encode(document));
  return document;
}

function encode(document: RunDocument): Buffer {
  return Buffer.from(`${JSON.stringify(document, null, 2)}\n`);
}
