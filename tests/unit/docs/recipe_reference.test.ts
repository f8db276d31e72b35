import { readFileSync } from 'node:fs';
import path from 'node:path';
import { datasetDefinitions } from '../../../components/datasets/llm/index.js';
import { recipeReference } from '../../../docs/generate/recipe_reference.js';

const docs = path.resolve(import.meta.dirname, '../../../../docs');
const { markdown, schema } = recipeReference();

test('docs/recipe.md and docs/recipe.schema.json are up to date with `npm run docs`', () => {
  expect(readFileSync(path.join(docs, 'recipe.md'), 'utf8')).toBe(markdown);
  expect(readFileSync(path.join(docs, 'recipe.schema.json'), 'utf8')).toBe(schema);
});

test('docs/recipe.md has a section for every dataset type', () => {
  const missing = datasetDefinitions().filter(
    ({ type }) => !markdown.includes(`### \`dataset_type: ${type}\``),
  );
  expect(missing).toEqual([]);
});

test('docs/recipe.md lists keys with type, default and meaning, at every depth', () => {
  expect(markdown).toContain('| `data.batch_size.micro` | integer ≥ 1 | `1` | packs a rank runs at a time |');
  expect(markdown).toContain('| `holdout.part` | `"held_out"` or `"rest"` | required |');
  expect(markdown).toContain('### `training.lr_scheduler` with `name: wsd`');
});
