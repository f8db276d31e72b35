/** The parent's side of an evaluating process. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type EvaluatorEvent, evaluatorEventSchema } from '../contracts/index.js';
import type { JobRunner } from '../recipes/index.js';
import { TemperError } from '../shared/errors.js';

const program = fileURLToPath(new URL('./evaluator.js', import.meta.url));
/** Characters of the process's last words that are kept for the error. */
const keptCharacters = 4000;

/** Evaluates in a process of its own. Throws with the code that it failed with there, EvaluatorLost when it died. */
export const evaluateInProcess: JobRunner = (job, hooks) =>
  new Promise((resolve, reject) => {
    const child = fork(program, [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    let last: EvaluatorEvent | null = null;
    let words = '';
    const abort = () => child.kill('SIGKILL');
    hooks.signal.addEventListener('abort', abort);
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      words = (words + text).slice(-keptCharacters);
    });
    child.on('message', (message) => {
      last = evaluatorEventSchema.parse(message);
      if (last.type === 'progress') hooks.progress(last.fraction, last.text);
    });
    // 'close' comes after the last words were read; 'error' when there never was a process.
    child.on('error', (cause) => reject(lost(cause.message, '')));
    child.on('close', (code, signal) => {
      hooks.signal.removeEventListener('abort', abort);
      if (last?.type === 'done') resolve();
      else if (last?.type === 'failed') reject(new TemperError(last.code, last.message));
      else if (hooks.signal.aborted) reject(hooks.signal.reason);
      else reject(lost(signal === null ? `exit code ${code}` : `killed by ${signal}`, words));
    });
    if (hooks.signal.aborted) abort();
    else child.send(job);
  });

function lost(how: string, words: string): TemperError {
  const tail = words.trim() === '' ? '' : `\n${words.trim()}`;
  return new TemperError('EvaluatorLost', `the process that evaluates ended: ${how}${tail}`);
}
