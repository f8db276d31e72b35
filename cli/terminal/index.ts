/** What a command shows on the terminal. */
export { usesColor } from './color.js';
export { duration, ProgressDisplay } from './progress.js';
export { printResult } from './result.js';
export { stepHooks } from './step_progress.js';
