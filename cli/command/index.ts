/** What an operator builds commands from: `@temper-train/temper/commands`. */
export type { Context } from './context.js';
export { command, recipeCommand } from './define.js';
export { jsonFlag, numberWhere, optionalText, text, wholeNumber } from './flags.js';
export { registerCommand } from './registry.js';
