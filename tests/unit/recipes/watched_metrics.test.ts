import { recipeSchema, watchedLoss } from '../../../recipes/llm/recipe.js';

const mock = { dataset_type: 'mock' };
const validationSets = { a: mock, b: mock, kitchen: mock };
const recipe = (training: object, evaluation: object, validation: object | null = validationSets) =>
  recipeSchema.safeParse({
    name: 'watched',
    model: { name: 'model' },
    data: { train: mock, validation },
    training,
    evaluation,
  });
const problems = (...sections: Parameters<typeof recipe>) =>
  recipe(...sections).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);

const facts = { task: 'json_fields', name: 'facts', path: 'facts.jsonl' };
const stopping = (metric: string) => ({ early_stopping: { metric, patience: 2 } });

test('early stopping can watch a task of each epoch, and no other', () => {
  expect(problems(stopping('facts/valid_json'), { tasks: [{ ...facts, when: 'epoch' }] })).toBeUndefined();
  expect(problems(stopping('facts/valid_json'), { tasks: [facts] })).toEqual([
    "training.early_stopping.metric: 'facts/valid_json' is known only at the end: give the task 'facts' when: epoch",
  ]);
  expect(problems(stopping('facts/valid'), { tasks: [{ ...facts, when: 'epoch' }] })).toEqual([
    "training.early_stopping.metric: there is no metric 'facts/valid'; there are val_loss; facts/ (valid_json, exact, fields, field/<name>)",
  ]);
});

test('a recipe may watch only one validation loss', () => {
  const loadBest = { load_best: true, metric: 'val_loss/kitchen' };
  expect(problems(stopping('val_loss'), loadBest)).toHaveLength(1);
  expect(problems(stopping('val_loss/kitchen'), loadBest)).toBeUndefined();
});

test('a recipe that watches a loss of no validation set is refused', () => {
  const loadBest = { load_best: true };
  expect(problems({}, loadBest, null)).toEqual([
    "evaluation.metric: 'val_loss' is measured on data.validation, and the recipe has none",
  ]);
  expect(problems(stopping('val_loss'), {}, null)).toHaveLength(1);
  expect(problems({}, { require: { perplexity: { max: 9 } } }, null)).toHaveLength(1);
  expect(problems({}, { ...loadBest, metric: 'val_loss/c' })).toEqual([
    "evaluation.metric: there is no 'val_loss/c'; there are val_loss, val_loss/a, val_loss/b, val_loss/kitchen",
  ]);
  // A single set has no name in its loss.
  expect(problems({}, { ...loadBest, metric: 'val_loss/a' }, { a: mock })).toHaveLength(1);
  expect(problems({}, loadBest, mock)).toBeUndefined();
});

test.each([
  ['the loss of early stopping', stopping('val_loss/a'), {}, 'val_loss/a'],
  [
    'the loss of load_best, without early stopping',
    {},
    { load_best: true, metric: 'val_loss/b' },
    'val_loss/b',
  ],
  [
    'the one of the two that is a loss',
    stopping('facts/exact'),
    { load_best: true, metric: 'val_loss/b', tasks: [{ ...facts, when: 'epoch' }] },
    'val_loss/b',
  ],
  ['val_loss, if the recipe names no metric', {}, {}, 'val_loss'],
])('the watched loss is %s', (_what, training, evaluation, expected) => {
  expect(watchedLoss(recipe(training, evaluation).data!)).toBe(expected);
});
