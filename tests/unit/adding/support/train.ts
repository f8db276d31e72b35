/**
 * Trains the working folder's `recipe.yaml` to its end, as a worker would, and prints its metrics as JSON.
 *
 * Usage: train.js [the step after which it kills itself]
 */
import path from 'node:path';
import { readRecipe } from '../../../../recipes/index.js';
import { loadInstallation } from '../../../../shared/installation.js';
import { openTrainer, prepareRun, readMetrics, trainToTheEnd } from '../../../support/training_run.js';

await loadInstallation();
const { value } = await readRecipe('recipe.yaml', []);
const run = await prepareRun({ ...value, output_dir: path.resolve('runs', value.name) });
const killedAt = Number(process.argv[2] ?? Number.POSITIVE_INFINITY);
const trainer = await openTrainer(run, (step) => {
  if (step >= killedAt) process.kill(process.pid, 'SIGKILL');
});
await trainToTheEnd(trainer);
await trainer.close();
process.stdout.write(JSON.stringify(await readMetrics(run)));
