import { run, type StricliProcess } from '@stricli/core';
import { buildApp, recipeCommands } from './app.js';
import { describeError, exitCodeFor, exitCodes } from './command/exit.js';
import { takeOverrides } from './command/overrides.js';
import { loadRegisteredCommands } from './command/registered.js';

for (const stream of [process.stdout, process.stderr]) stream.on('error', onOutputError);

const argv = process.argv.slice(2);
try {
  await loadRegisteredCommands(argv);
} catch (error) {
  process.stderr.write(`${describeError(error)}\n`);
  process.exit(exitCodeFor(error));
}
const { rest, overrides } = await takeOverrides(argv, recipeCommands(), async () => {
  // Loaded by these commands anyway, and by no other: `temper --help` answers at once.
  const { recipeKeys } = await import('../recipes/admission.js');
  return recipeKeys;
});
await run(buildApp(), rest, { process: process as StricliProcess & NodeJS.Process, overrides });
// Stricli numbers unknown commands and arguments it cannot read below zero.
if (Number(process.exitCode) < 0) process.exitCode = exitCodes.usage;

/**
 * Handles an output that nobody reads any more: `temper … | head` closes the pipe, or a terminal is closed. A command
 * with something to save stops in order, as after the SIGHUP of that terminal; any other ends.
 */
function onOutputError(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
  if (process.listenerCount('SIGHUP') === 0) process.exit();
  process.emit('SIGHUP', 'SIGHUP');
}
