import { readRunDocument } from '../../components/checkpoint/index.js';
import type { RunDocument, RunReference } from '../../contracts/index.js';
import { openRooted } from './open_run.js';

/**
 * Returns the workflow that has claimed the run's folder since this one did; null when there is none.
 *
 * @param claim run id of the workflow under which the run claimed its folder
 */
export async function otherOwner(run: RunReference, claim: string): Promise<RunDocument['workflow']> {
  const owner = (await readRunDocument(await openRooted(run.outputDir)))?.workflow ?? null;
  return owner?.runId === claim ? null : owner;
}
