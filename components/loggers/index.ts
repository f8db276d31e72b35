export type { LoggedRun, Logger, LoggerDefinition } from './definition.js';
export { LoggerFeed } from './feed.js';
export { loggerDefinitions, registerLogger } from './registry.js';
export { type LoggerOptions, loggersSchema } from './schema.js';
