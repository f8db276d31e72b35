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

test('a recipe is judged by the schema of its kind', async () => {
  expect((await load('kind: counting\nto: 3')).value).toEqual({ kind: 'counting', to: 3 });
  await expect(load('kind: counting\nto: many')).rejects.toThrow(/to: /);
});

test('a recipe that does not say its kind is a language model’s', async () => {
  await expect(load('to: 3')).rejects.toThrow(/model: /);
});

test('an unknown kind is refused with the known ones', async () => {
  await expect(load('kind: painting\nto: 3')).rejects.toThrow(
    /kind: unknown recipe kind 'painting'; known are llm, counting/,
  );
});

test('a kind is registered once', () => {
  expect(() => registerKind({ kind: 'llm' } as never)).toThrow(/the recipe kind 'llm' is registered twice/);
});
