/**
 * Sends a run's metrics to loggers in addition to metrics.jsonl. The rank gives its loggers what each commit names, and
 * the evaluation that ends a run gives them the rest: of the two, one runs at a time.
 */
import { readMetrics } from '../../components/checkpoint/index.js';
import { LoggerFeed } from '../../components/loggers/index.js';
import type { OpenRun } from './kind.js';

/** Opens the loggers of a run for this process. What they throw is a warning on stderr, and stops nothing. */
export function openLoggers({ run, recipe, document, storage }: OpenRun): LoggerFeed {
  return new LoggerFeed({
    loggers: recipe.loggers,
    run: { name: recipe.name, id: run.id, recipe: document, storage },
    readMetrics: () => readMetrics(storage),
    onFailure: (message) => process.emitWarning(message, 'LoggerWarning'),
  });
}

/** Gives the loggers all that metrics.jsonl has and they have not. No generation may be writing. */
export async function logAllMetrics(run: OpenRun): Promise<void> {
  if (run.recipe.loggers.length === 0) return;
  const loggers = openLoggers(run);
  await loggers.deliver(await readMetrics(run.storage));
  await loggers.close();
}
