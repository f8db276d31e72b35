import { z } from 'zod';
import { loadRecipe } from '../../../components/config/index.js';
import { registerKind, schemaOfKind } from '../../../recipes/admission.js';

registerKind({
  kind: 'counting',
  schema: z.strictObject({ kind: z.literal('counting'), to: z.int() }),
  identityKeys: [],
  summarize: ({ to }) => ({
    name: 'counting',
    outputDir: null,
    model: 'none',
    epochs: to,
    pool: 'default',
    evaluatesEpochs: false,
  }),
});

const load = (text: string) => loadRecipe({ text }, { schema: schemaOfKind, run: 'r' });

test('a recipe is checked with the schema of its kind', async () => {
  expect((await load('kind: counting\nto: 3')).value).toEqual({ kind: 'counting', to: 3 });
  await expect(load('kind: counting\nto: many')).rejects.toThrow(/to: /);
});

test('a recipe without a kind is checked as a language model’s', async () => {
  await expect(load('to: 3')).rejects.toThrow(/model: /);
});

test('an unknown recipe kind is refused, and the error lists the known ones', async () => {
  await expect(load('kind: painting\nto: 3')).rejects.toThrow(
    /kind: unknown recipe kind 'painting'; known are llm, counting/,
  );
});

test('a recipe kind cannot be registered twice', () => {
  expect(() => registerKind({ kind: 'llm' } as never)).toThrow(/the recipe kind 'llm' is registered twice/);
});
