import type { StepHooks } from '../../recipes/index.js';
import type { ProgressDisplay } from './progress.js';

/** Returns hooks that show a step's progress on the terminal. Never cancelled: Ctrl-C ends the process. */
export function stepHooks(display: ProgressDisplay): StepHooks {
  return {
    progress: (fraction, text) =>
      display.status(fraction === null ? text : `${text} (${Math.round(100 * fraction)} %)`),
    signal: new AbortController().signal,
  };
}
