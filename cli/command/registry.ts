/** Commands by name: the program's own, and those that an operator's configuration adds. */
import type { Command } from '@stricli/core';
import { UsageError } from '../../shared/errors.js';
import { Registry } from '../../shared/registry.js';
import type { Context } from './context.js';

interface NamedCommand {
  readonly name: string;
  readonly command: Command<Context>;
}

const registry = new Registry<NamedCommand>('command', ({ name }) => name);

/**
 * Adds a command, which `temper --help` lists and `temper <name>` runs. Call it in `register()` of temporal.config.js.
 *
 * @throws UsageError where the name is taken, or could not be typed as one
 * @example
 * registerCommand('greet', command({ docs: { brief: 'Say hello' }, flags: {}, async run() { … } }));
 */
export function registerCommand(name: string, command: Command<Context>): void {
  if (!/^[a-z][a-z0-9-]*$/.test(name))
    throw new UsageError(`'${name}' is not a valid name of a command: use a-z, 0-9 and '-'`);
  registry.register({ name, command });
}

/** Returns all commands, in the order of `temper --help`. */
export const commands = (): Record<string, Command<Context>> =>
  Object.fromEntries(registry.entries.map(({ name, command }) => [name, command]));
