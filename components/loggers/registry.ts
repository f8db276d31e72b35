/** Loggers by name. An operator adds one with `registerLogger`; a recipe names it and never names code. */
import { Registry } from '../../shared/registry.js';
import { csv } from './csv.js';
import type { LoggerDefinition } from './definition.js';

const registry = new Registry<LoggerDefinition>('logger', ({ name }) => name, [csv]);

/** Adds a logger. Call it in `register()` of temporal.config.js. @throws UsageError where the name is taken */
export function registerLogger<Options>(definition: LoggerDefinition<Options>): void {
  registry.register(definition as unknown as LoggerDefinition);
}

/** Returns a logger's definition. @throws UsageError that lists the known ones */
export const loggerDefinition = (name: string): LoggerDefinition => registry.find(name);

export const loggerDefinitions = (): LoggerDefinition[] => registry.entries;
