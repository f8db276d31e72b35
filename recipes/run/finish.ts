import { updateRunDocument } from '../../components/checkpoint/index.js';
import type { FinetuneResult, RunReference } from '../../contracts/index.js';
import { openRooted } from './open_run.js';
import { otherOwner } from './other_owner.js';

export type RunEnd =
  | { state: 'completed' | 'stopped'; result: FinetuneResult }
  | { state: 'failed'; failure: string };

/**
 * Writes how the run ended into its folder. A failure is left out where another workflow has taken the folder over: it is
 * not that one's.
 *
 * @param claim run id of the workflow under which the run claimed its folder
 */
export async function finish(run: RunReference, claim: string, end: RunEnd): Promise<void> {
  if (end.state === 'failed' && (await otherOwner(run, claim)) !== null) return;
  const change =
    end.state === 'failed'
      ? { state: end.state, failure: end.failure }
      : { state: end.state, result: end.result };
  await updateRunDocument(await openRooted(run.outputDir), run.id, change);
}
