import { type RecordTimelineRequest, timelinePrefix } from '../../contracts/index.js';
import { CheckpointError } from '../../shared/errors.js';
import { readDocument } from '../../shared/storage/index.js';
import { openRooted } from './open_run.js';

/**
 * Writes entries as one file that is never changed, `<run>/timeline/<start of the run's workflow>-<first number>-<its run
 * id>.jsonl`: names sort by time, and a workflow that was reset does not meet what it wrote before. Returns the number of the
 * last entry in the file: an earlier attempt whose answer was lost may have written it, with fewer entries.
 *
 * @throws CheckpointError when such a file is too long to be one
 */
export async function recordTimeline(
  { run, startedAt, entries }: RecordTimelineRequest,
  workflowRunId: string,
): Promise<number> {
  const storage = await openRooted(run.outputDir);
  const first = entries[0]!.number;
  const start = startedAt.replace(/[^0-9]/g, '');
  const key = `${timelinePrefix}${start}-${String(first).padStart(8, '0')}-${workflowRunId.slice(0, 8)}.jsonl`;
  const text = entries.map((entry) => `${JSON.stringify(entry)}\n`).join('');
  if (await storage.createExclusive(key, Buffer.from(text))) return entries.at(-1)!.number;
  const bytes = await readDocument(storage, key);
  if (bytes === null || typeof bytes === 'string')
    throw new CheckpointError(`${storage.uri}/${key}: ${bytes ?? 'the file is missing'}`);
  const lines = bytes.toString('utf8').trimEnd().split('\n');
  return first + lines.length - 1;
}
