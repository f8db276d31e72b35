import { takeGeneration as take } from '../../components/checkpoint/index.js';
import type { RunReference } from '../../contracts/index.js';
import { openRooted } from './open_run.js';

/** Takes the run's next generation for a holder, which fences every older one. */
export async function takeGeneration(
  run: RunReference,
  claim: { holder: string; worldSize: number },
): Promise<number> {
  const { generation } = await take(await openRooted(run.outputDir), claim);
  return generation;
}
