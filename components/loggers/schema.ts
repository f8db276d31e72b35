/** The recipe's `loggers`. */
import { z } from 'zod';
import { loggerDefinitions } from './registry.js';

/** A logger as a recipe has it. The keys beyond the name are its own. */
export interface LoggerOptions {
  name: string;
  [option: string]: unknown;
}

/** Returns the schema of the section, with every logger that is registered when it is first used. */
export function loggersSchema(): z.ZodType<LoggerOptions[]> {
  const [first, ...rest] = loggerDefinitions().map(({ schema }) => schema);
  const list = z.array(z.discriminatedUnion('name', [first!, ...rest])).superRefine((loggers, context) => {
    const names = loggers.map(({ name }) => name);
    for (const [index, name] of names.entries()) {
      if (names.indexOf(name) < index)
        context.addIssue({
          code: 'custom',
          path: [index, 'name'],
          message: `a second logger '${String(name)}'`,
        });
    }
  });
  return list as unknown as z.ZodType<LoggerOptions[]>;
}
