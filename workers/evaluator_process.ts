/** The parent's side of an evaluating process. */
import { type EvaluatorEvent, evaluatorEventSchema } from '../contracts/index.js';
import type { JobRunner } from '../recipes/index.js';
import { EvaluatorLost, TemperError } from '../shared/errors.js';
import { ForkedProcess } from '../shared/forked_process.js';

const program = new URL('./evaluator.js', import.meta.url);

/** Evaluates in a process of its own. Throws with the code that it failed with there, EvaluatorLost when it died. */
export const evaluateInProcess: JobRunner = (job, hooks) =>
  new Promise((resolve, reject) => {
    let last: EvaluatorEvent | null = null;
    const hear = (message: unknown) => {
      last = evaluatorEventSchema.parse(message);
      if (last.type === 'progress') hooks.progress(last.fraction, last.text);
    };
    const evaluator = new ForkedProcess(program, hear, (how) => {
      hooks.signal.removeEventListener('abort', abort);
      if (last?.type === 'done') resolve();
      else if (last?.type === 'failed') reject(new TemperError(last.code, last.message));
      else if (hooks.signal.aborted) reject(hooks.signal.reason);
      else reject(new EvaluatorLost(`the process that evaluates ended: ${how}`));
    });
    const abort = () => evaluator.kill();
    hooks.signal.addEventListener('abort', abort);
    if (hooks.signal.aborted) abort();
    else evaluator.send(job);
  });
