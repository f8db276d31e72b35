import { z } from 'zod';
import {
  evaluationSchema,
  findDirection,
  registerTask,
  taskDefinition,
} from '../../../components/evaluation/index.js';

// Before a schema is first used, as temporal.config.ts does.
registerTask<{ words: number }, string>({
  task: 'mine',
  schema: z.strictObject({ task: z.literal('mine'), words: z.int() }),
  needs: 'generation',
  partSize: 4,
  metrics: 'length',
  direction: (metric) => (metric === 'length' ? 'lower' : null),
  examples: async ({ words }) => Array.from({ length: words }, (_, index) => `${index}`),
  evaluate: async (examples) => examples.map((id) => ({ id, scores: { length: 1 }, details: {} })),
  aggregate: () => ({}),
});

const squad = { task: 'squad', path: 'dev.json' };
const problems = (section: object) =>
  evaluationSchema
    .safeParse(section)
    .error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);

test('an empty evaluation section watches only the validation loss', () => {
  expect(evaluationSchema.parse({})).toMatchObject({
    metric: 'val_loss',
    load_best: false,
    tasks: [],
    require: {},
  });
});

test('a metric is named after its task, or after the name that the recipe gives it', () => {
  const { tasks } = evaluationSchema.parse({ tasks: [squad, { ...squad, name: 'dev' }] });
  expect(findDirection('squad/f1', tasks)).toBe('higher');
  expect(findDirection('dev/exact_match', tasks)).toBe('higher');
  expect(findDirection('val_loss/kitchen', tasks)).toBe('lower');
  expect(findDirection('squad/acc', tasks)).toBeNull();
});

test('two tasks of one name are refused', () => {
  expect(problems({ tasks: [squad, squad] })).toEqual([
    "tasks.1.name: a second task called 'squad': give it another name",
  ]);
});

test('a required metric that no task has is refused, and the known ones are named', () => {
  expect(problems({ tasks: [squad], require: { 'squad/acc': { min: 1 } } })).toEqual([
    "require.squad/acc: there is no metric 'squad/acc'; there are val_loss; squad/ (exact_match, f1)",
  ]);
});

test('load_best refuses a metric that is known only at the end', () => {
  const section = { load_best: true, metric: 'squad/f1', tasks: [squad] };
  expect(problems(section)).toEqual([
    "metric: 'squad/f1' is known only at the end: give the task 'squad' when: epoch",
  ]);
  expect(problems({ ...section, tasks: [{ ...squad, when: 'epoch' }] })).toBeUndefined();
});

test('a required metric needs min or max', () => {
  expect(problems({ require: { val_loss: {} } })).toEqual(['require.val_loss: needs min or max']);
});

test('a registered task can be named in a recipe, and its keys are checked', () => {
  expect(evaluationSchema.parse({ tasks: [{ task: 'mine', words: 2 }] }).tasks[0]).toMatchObject({
    words: 2,
  });
  expect(problems({ tasks: [{ task: 'mine' }] })).toHaveLength(1);
  expect(() => registerTask(taskDefinition('squad'))).toThrow("the task 'squad' is registered twice");
});
