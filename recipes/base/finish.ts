import { updateRunDocument } from '../../components/checkpoint/index.js';
import type { FinetuneResult, RunReference } from '../../contracts/index.js';
import { openRooted } from './run_folder.js';

export type RunEnd =
  | { state: 'completed' | 'stopped'; result: FinetuneResult }
  | { state: 'failed'; failure: string };

/** Writes how the run ended into its folder. */
export async function finish(run: RunReference, end: RunEnd): Promise<void> {
  const change =
    end.state === 'failed'
      ? { state: end.state, failure: end.failure }
      : { state: end.state, result: end.result };
  await updateRunDocument(await openRooted(run.outputDir), run.run, change);
}
