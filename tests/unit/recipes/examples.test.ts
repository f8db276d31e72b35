/** Examples run as they stand: each is a recipe, and the data that it names lie beside it or are the quickstart's. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { readRecipe } from '../../../recipes/admission.js';

const examples = path.resolve('examples');
/** The recipe that `npm run quickstart` writes. */
const generated = ['train.jsonl', 'held_out.jsonl'].map((name) =>
  path.join(examples, 'data', 'countries', name),
);

const recipes = readdirSync(examples, { recursive: true, encoding: 'utf8' }).filter(
  (file) => /\.ya?ml$/.test(file) && !file.split(path.sep).includes('runs'),
);

test('there are some', () => {
  expect(recipes).toContain(path.join('llm', 'smollm2_135m_countries_lora.yaml'));
});

test.each(recipes)('%s is a recipe whose files exist', async (file) => {
  const { value } = await readRecipe(path.join(examples, file), []);
  const named = pathsOf({ data: value.data, tasks: value.evaluation.tasks });
  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((data) => !generated.includes(data) && !existsSync(data))).toEqual([]);
});

/** The values of every `path` key. */
function pathsOf(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, entry]) =>
    key === 'path' && entry !== null ? [entry].flat().map(String) : pathsOf(entry),
  );
}
