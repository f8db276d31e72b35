import { recipeCommands as listRecipeCommands } from '../../../cli/app.js';
import { takeOverrides as takeFrom } from '../../../cli/command/overrides.js';
import { commands } from '../../../cli/command/registry.js';
import { recipeJsonSchema } from '../../../components/config/index.js';
import { recipeKeys, recipeSchema } from '../../../recipes/llm/recipe.js';

const recipeCommands = listRecipeCommands();

const takeOverrides = (argv: string[]) => takeFrom(argv, recipeCommands, async () => recipeKeys);

test('dotted keys are overrides, in both spellings, and flags stay in the command line', async () => {
  const argv = ['run', 'a.yaml', '--training.num_epochs=1', '--json', '--data.train.path', 'x.jsonl'];
  expect(await takeOverrides(argv)).toEqual({
    rest: ['run', 'a.yaml', '--json'],
    overrides: ['training.num_epochs=1', 'data.train.path=x.jsonl'],
  });
});

test('the value of an override may contain an equals sign or be negative', async () => {
  expect((await takeOverrides(['plan', '--a.b=x=y', '--a.c', '-1'])).overrides).toEqual([
    'a.b=x=y',
    'a.c=-1',
  ]);
});

test('an override without a value is true', async () => {
  expect((await takeOverrides(['run', '--peft.rslora', '--json'])).overrides).toEqual(['peft.rslora=true']);
});

test.each(recipeKeys)("the recipe's own key %s needs no dot", async (key) => {
  const argv = ['run', 'a.yaml', `--${key}=x`, '--new'];
  expect(await takeOverrides(argv)).toEqual({ rest: ['run', 'a.yaml', '--new'], overrides: [`${key}=x`] });
});

test('the keys that need no dot are those of the schema', () => {
  const { properties } = recipeJsonSchema(recipeSchema);
  expect([...recipeKeys].sort()).toEqual(Object.keys(properties!).sort());
});

test('run, start, plan, preview and validate take a recipe', () => {
  expect([...recipeCommands]).toEqual(['run', 'start', 'plan', 'preview', 'validate']);
});

const withRecipe = Object.entries(commands()).filter(([name]) => recipeCommands.has(name));

test.each(withRecipe)('%s has no flag with the name of a recipe key', (_, command) => {
  expect(recipeKeys.filter((key) => command.usesFlag(key, 'original'))).toEqual([]);
});

test('a command without a recipe keeps its own flags of such names', async () => {
  const argv = ['generate', '--model', 'm', '--seed=3', '--prompt', 'Hello'];
  expect(await takeOverrides(argv)).toEqual({ rest: argv, overrides: [] });
});
