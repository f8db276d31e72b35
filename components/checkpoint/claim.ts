/** The workflow that drives a run. Two of them, on different servers, would fence each other forever. */
import type { CheckpointEntry, ClaimEntry } from '../../contracts/index.js';
import { CheckpointError } from '../../shared/errors.js';
import type { Storage } from '../../shared/storage/index.js';
import { readClaim } from './commit_log.js';
import { liveCheckpoints } from './live.js';
import { readRunDocument } from './run_document.js';

/**
 * Refuses a run that a workflow of another namespace or server drives and has not ended. Within a namespace, the server
 * itself sees to it that one workflow of an id is open at a time.
 *
 * @throws CheckpointError that says who drives the run, and when it last committed
 */
export async function refuseUnderWay(
  storage: Storage,
  { namespaceId }: { namespaceId: string },
): Promise<void> {
  const claim = await readClaim(storage);
  if (claim === null || claim.namespaceId === namespaceId) return;
  if ((await readRunDocument(storage))?.state !== 'running') return;
  throw new CheckpointError(
    `${storage.uri} is under way as '${claim.workflowId}' on namespace ${claim.namespace} of server ${claim.server}, ` +
      `${await describeLastCommit(storage)}; stop it there, or take it over with --take-over`,
  );
}

async function describeLastCommit(storage: Storage): Promise<string> {
  const newest = await newestCheckpoint(storage);
  if (newest === null) return 'without a commit so far';
  return `last commit ${describeAge(newest.at)} ago at step ${newest.trainer.step.toLocaleString('en')}`;
}

async function newestCheckpoint(storage: Storage): Promise<CheckpointEntry | null> {
  for await (const { entry } of liveCheckpoints(storage)) if (entry !== null) return entry;
  return null;
}

/** Returns the time since `time`, in the largest unit of which it has two. */
function describeAge(time: ClaimEntry['at']): string {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}
