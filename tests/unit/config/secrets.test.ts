import { z } from 'zod';
import { loadRecipe, printRecipe, recipeJsonSchema } from '../../../components/config/index.js';
import { editDistance, suggestion } from '../../../components/config/suggest.js';

const anything = z.record(z.string(), z.unknown());
const load = (text: string) =>
  loadRecipe({ text }, { schema: anything, env: { X: 'v' }, recipeEnvironment: ['X'] });

describe('secrets', () => {
  test.each([
    ['api_key: abc', 'api_key'],
    ['wandb: {password: p}', 'wandb.password'],
    ['hub:\n  token: t', 'hub.token'],
    ['note: hf_abcdefghijklmnopqrstuvwxyz', 'note'],
    ['note: use AKIAIOSFODNN7EXAMPLE now', 'note'],
    ['list: [a, sk-abcdefghijklmnopqrstuv]', 'list.1'],
    ['uri: postgres://me:pass@host/db', 'uri'],
  ])('%s is refused, and the error has the key but not the value', async (text, key) => {
    const error = await load(text).catch((reason: Error) => reason);
    expect(error).toMatchObject({ code: 'InvalidRecipe' });
    expect((error as Error).message).toContain(`${key}: this is`);
    expect((error as Error).message).not.toMatch(/abcdefghij|AKIAIO|pass@/);
  });

  test.each(['api_key: ${env:X}', 'eos_token: "</s>"', 'max_tokens: 5', 'token: null', 'uri: s3://bucket/x'])(
    '%s is not a secret',
    async (text) => {
      await expect(load(text)).resolves.toBeDefined();
    },
  );

  test.each([
    ['one long word', 'a'.repeat(900_000)],
    ['words that begin like a signed token', 'eyJ-'.repeat(225_000)],
    ['addresses that do not end', 'http://a:b'.repeat(90_000)],
    ['placeholders that do not close', '${a'.repeat(300_000)],
  ])('are searched for in %s in linear time', async (_, text) => {
    await expect(loadRecipe({ recipe: { note: text } }, { schema: anything })).resolves.toBeDefined();
  });

  test('are redacted when a recipe is printed', () => {
    const text = printRecipe({ name: 'a', hub: { token: 'abc', url: '${env:URL}' } });
    expect(text).toBe('name: a\nhub:\n  token: "[redacted]"\n  url: ${env:URL}\n');
  });
});

test('the JSON Schema carries descriptions, defaults and `extends`', () => {
  const schema = recipeJsonSchema(z.strictObject({ seed: z.int().default(1).describe('Seeds everything') }));
  expect(schema.properties).toMatchObject({ seed: { default: 1, description: 'Seeds everything' } });
  expect(schema.properties).toHaveProperty('extends');
});

test('edit distance counts a swap of neighbors as one', () => {
  expect(editDistance('teh', 'the')).toBe(1);
  expect(editDistance('kitten', 'sitting')).toBe(3);
});

test('a key without a similar one gets no suggestion', () => {
  expect(suggestion('zzzzzz', ['alpha', 'beta'])).toBeNull();
  expect(suggestion('lr', ['learning_rate'])).toBeNull();
  expect(suggestion('Learning-Rate', ['learning_rate'])).toBe('learning_rate');
});
