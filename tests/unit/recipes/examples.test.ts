/** Examples run unchanged: each is a recipe, and the data that it names is next to it or comes from the quickstart. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { readRecipe } from '../../../recipes/admission.js';

const examples = path.resolve('examples');
/** The data that `npm run quickstart` writes. */
const quickstartFiles = ['train.jsonl', 'held_out.jsonl'].map((name) =>
  path.join(examples, 'data', 'countries', name),
);

const recipes = readdirSync(examples, { recursive: true, encoding: 'utf8' }).filter(
  (file) => /\.ya?ml$/.test(file) && !file.split(path.sep).includes('runs'),
);

test('the examples include the quickstart’s recipe', () => {
  expect(recipes).toContain(path.join('llm', 'smollm2_135m_countries_lora.yaml'));
});

test.each(recipes)('the example %s is a recipe whose files exist', async (file) => {
  const { value } = await readRecipe(path.join(examples, file), []);
  const paths = findPaths({ data: value.data, tasks: value.evaluation.tasks });
  expect(paths.length).toBeGreaterThan(0);
  expect(paths.filter((data) => !quickstartFiles.includes(data) && !existsSync(data))).toEqual([]);
});

/** Returns the values of every `path` key. */
function findPaths(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, entry]) =>
    key === 'path' && entry !== null ? [entry].flat().map(String) : findPaths(entry),
  );
}
