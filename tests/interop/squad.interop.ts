/** SQuAD's scores against the official script's, over a whole article. */
import { readFile } from 'node:fs/promises';
import { type EvaluatedModel, type RecipeTask, taskDefinition } from '../../components/evaluation/index.js';
import { evaluateTask, prepareTask } from '../../recipes/llm/evaluate/evaluate_tasks.js';
import { describeWithFiles, taskData } from '../support/task_data.js';
import { quietHooks } from '../support/training_run.js';
import { askTasksPeer } from './tasks_peer.js';

const file = taskData('squad_v1.1_one_article.json');
const task: RecipeTask = {
  task: 'squad',
  name: null,
  when: 'end',
  path: file,
  limit: null,
  template: 'plain',
  max_new_tokens: 32,
};

interface Truths {
  id: string;
  context: string;
  answers: string[];
}

/** Answers of all kinds: right, with other spelling, cut, with more words, wrong, empty, with other characters. */
const distortions: ((truth: string, context: string) => string)[] = [
  (truth) => truth,
  (truth) => `The ${truth.toUpperCase()}.`,
  (truth) => truth.split(' ').slice(0, -1).join(' '),
  (truth) => `an answer — “${truth}” — and more, more, more`,
  (_truth, context) => context.split(' ').slice(3, 12).join(' '),
  () => '',
  () => 'the a an',
  (truth) => `${truth}'s über-théâtre`,
  (truth) => `${truth} ${truth}`,
  (truth) => truth.replaceAll(' ', '\u00a0'),
];

describeWithFiles(file)('SQuAD', () => {
  test('exact match and f1 of every question, and their means, are those of evaluate-v1.1.py', async () => {
    const prepared = await prepareTask(task);
    const examples = prepared.examples as Truths[];
    expect(examples.length).toBeGreaterThan(100);
    const answers = examples.map(({ context, answers: [truth] }, index) =>
      distortions[index % distortions.length]!(truth!, context),
    );
    const answersById = new Map(examples.map(({ id }, index) => [id, answers[index]!.trim()]));
    const remainingAnswers = [...answers];
    const model: Pick<EvaluatedModel, 'hasChatTemplate' | 'generate'> = {
      hasChatTemplate: false,
      generate: async (prompts) => prompts.map(() => remainingAnswers.shift()!),
    };
    const scores = await evaluateTask(prepared, model as EvaluatedModel, null, () => {}, quietHooks.signal);
    const official = await askTasksPeer<{
      scores: Record<string, Record<string, number | boolean>>;
      means: Record<string, number>;
    }>({ job: 'squad', path: file, answers: Object.fromEntries(answersById) });
    for (const { id, scores: exampleScores } of scores.results) {
      for (const metric of ['exact_match', 'f1'])
        expect([id, metric, exampleScores[metric]]).toEqual([
          id,
          metric,
          expect.closeTo(100 * Number(official.scores[id]![metric]), 10),
        ]);
    }
    for (const metric of ['exact_match', 'f1'])
      expect(scores.metrics[metric]!.value).toBeCloseTo(official.means[metric]!, 10);
    // Without such a mean the answers would be too easy or too hard to compare anything.
    expect(official.means.f1).toBeGreaterThan(20);
    expect(official.means.f1).toBeLessThan(80);
  }, 120_000);

  test('the file holds the whole article', async () => {
    const { data } = JSON.parse(await readFile(file, 'utf8')) as {
      data: { paragraphs: { qas: unknown[] }[] }[];
    };
    const questions = data.flatMap(({ paragraphs }) => paragraphs.flatMap(({ qas }) => qas));
    expect((await prepareTask(task)).examples).toHaveLength(questions.length);
    expect(taskDefinition('squad').metrics).toBe('exact_match, f1');
  });
});
