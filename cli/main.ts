import { run, type StricliProcess } from '@stricli/core';
import { app } from './app.js';
import { exitCodes } from './exit.js';
import { takeOverrides } from './overrides.js';

// `temper … | head` closes the pipe while there is more to say.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

const { rest, overrides } = await takeOverrides(process.argv.slice(2), async () => {
  // Loaded by these commands anyway, and by no other: `temper --help` answers at once.
  const { recipeKeys } = await import('../recipes/llm/recipe.js');
  return recipeKeys;
});
await run(app, rest, { process: process as StricliProcess & NodeJS.Process, overrides });
// Stricli numbers unknown commands and arguments it cannot read below zero.
if (Number(process.exitCode) < 0) process.exitCode = exitCodes.usage;
