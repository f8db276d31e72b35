/**
 * The process that evaluates tasks for a host worker: engine and generator live here, so that neither holds up the
 * worker's event loop nor takes it down. It dies with its parent, at once: what is stored by then is found by the next.
 */
import { type EvaluatorEvent, evaluationJobSchema } from '../contracts/index.js';
import { runEvaluationJob } from '../recipes/index.js';
import { TemperError } from '../shared/errors.js';
import { liveForParent } from '../shared/forked_process.js';
import { loadConfig } from './installed_config.js';

/** Tells the parent, and ends. */
function end(event: EvaluatorEvent, code: number): void {
  process.send?.(event, () => process.exit(code));
}

function fail(error: unknown): void {
  const code = error instanceof TemperError ? error.code : error instanceof Error ? error.name : 'Error';
  const defect = error instanceof Error && !(error instanceof TemperError);
  const message = error instanceof Error ? ((defect ? error.stack : null) ?? error.message) : String(error);
  end({ type: 'failed', code, message }, 1);
}

async function evaluate(message: unknown): Promise<void> {
  const job = evaluationJobSchema.parse(message);
  await (await loadConfig()).register();
  await runEvaluationJob(job, {
    signal: new AbortController().signal,
    progress: (fraction, text) => {
      const event: EvaluatorEvent = { type: 'progress', fraction, text };
      process.send?.(event);
    },
  });
  end({ type: 'done' }, 0);
}

liveForParent();
process.on('uncaughtException', fail);
process.on('unhandledRejection', fail);
process.once('message', (message) => {
  evaluate(message).catch(fail);
});
