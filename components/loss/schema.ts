import { z } from 'zod';
import { type Loss, lossDefinitions } from './registry.js';

/** Returns the schema of `training.loss`, with every loss that is registered when it is first used. */
export function lossSchema(): z.ZodType<Loss> {
  const definitions = lossDefinitions();
  const needNothing = definitions.filter(({ name, schema }) => schema.safeParse({ name }).success);
  const names = z.enum(needNothing.map(({ name }) => name));
  const withOptions = definitions
    .map(({ schema }) => schema)
    .filter(({ shape }) => Object.keys(shape).length > 1);
  const [first, ...rest] = withOptions;
  return first === undefined
    ? names
    : (z.union([names, z.discriminatedUnion('name', [first, ...rest])]) as z.ZodType<Loss>);
}
