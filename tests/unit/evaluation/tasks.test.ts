/** Tasks on a scripted model: what they request from it, and how they score its answers. */
import {
  type AnswerOptions,
  type EvaluatedModel,
  type ExampleResult,
  type Prompt,
  type RecipeTask,
  type RowReader,
  recipeTaskSchema,
  taskDefinition,
} from '../../../components/evaluation/index.js';

type Pair = { context: string; continuation: string };

/** Returns a model that gives each continuation the log-probability `score`, and each prompt the next of `answers`. */
function scriptModel(score: (pair: Pair) => number, answers: string[] = [], hasChatTemplate = false) {
  const requests: { pairs: Pair[]; prompts: Prompt[]; options: AnswerOptions | null } = {
    pairs: [],
    prompts: [],
    options: null,
  };
  const model: EvaluatedModel = {
    hasChatTemplate,
    loglikelihoods: async (pairs) => {
      requests.pairs.push(...pairs);
      return pairs.map((pair) => ({ logprob: score(pair), tokens: 1 }));
    },
    rollingLoglikelihoods: async (texts) =>
      texts.map((text) => ({ logprob: score({ context: '', continuation: text }), tokens: text.length })),
    generate: async (prompts, options) => {
      requests.prompts.push(...prompts);
      requests.options = options;
      return prompts.map(() => answers.shift() ?? '');
    },
  };
  return { model, requests };
}

const readRows = (rows: unknown[]): RowReader =>
  async function* ({ limit }) {
    for (const [index, value] of rows.slice(0, limit ?? undefined).entries())
      yield { location: `line ${index + 1}`, value };
  };

async function evaluate(
  options: object,
  rows: unknown[],
  model: EvaluatedModel,
): Promise<{ results: ExampleResult[]; metrics: Record<string, { value: number }> }> {
  const task = recipeTaskSchema().parse({ path: 'rows.jsonl', ...options }) as RecipeTask;
  const definition = taskDefinition(task.task);
  const examples = await definition.examples(task, readRows(rows));
  const results = await definition.evaluate(examples, task, model);
  return { results, metrics: definition.aggregate(results) };
}

describe('hellaswag', () => {
  const row = {
    ind: 7,
    activity_label: 'Removing ice from car',
    ctx_a: 'Then, the man writes over the snow. [header] How [title] It  melts.',
    ctx_b: 'THEN he',
    endings: [', the man adds wax. ', 'cut [substeps] it.', 'abcd', 'x'],
    label: '3',
  };

  test('context and endings are preprocessed as in lm-evaluation-harness', async () => {
    const { model, requests } = scriptModel(() => 0);
    await evaluate({ task: 'hellaswag' }, [row], model);
    // str.capitalize() makes small letters of the others; brackets go; each pair of spaces becomes one, once.
    expect(requests.pairs).toEqual(
      [', the man adds wax.', 'cut it.', 'abcd', 'x'].map((ending) => ({
        context: 'Removing ice from car: Then, the man writes over the snow. How. It melts. Then he',
        continuation: ` ${ending}`,
      })),
    );
  });

  test('acc compares log-likelihoods, and acc_norm log-likelihoods per character without the delimiter', async () => {
    const logprobs: Record<string, number> = {
      ', the man adds wax.': -19,
      'cut it.': -14,
      abcd: -3,
      x: -2.5,
    };
    const { model } = scriptModel(({ continuation }) => logprobs[continuation.slice(1)]!);
    const { results } = await evaluate({ task: 'hellaswag' }, [row], model);
    expect(results[0]!.scores).toEqual({ acc: 1, acc_norm: 0 });
    expect(results[0]!.details.chosen_norm).toBe(2);
  });

  test('a label that names no ending is an error with its line', async () => {
    const attempt = evaluate({ task: 'hellaswag' }, [row, { ...row, label: 4 }], scriptModel(() => 0).model);
    await expect(attempt).rejects.toThrow(
      "rows.jsonl: line 2: 'label' is 4, which is not an index of 'endings'",
    );
  });
});

describe('multiple_choice', () => {
  const arc = {
    id: 'Mercury_1',
    question: 'Why?',
    choices: { text: ['a', 'b', 'c'], label: ['1', '2', '3'] },
    answerKey: '3',
  };

  test("has the prompts of lm-evaluation-harness' arc_easy", async () => {
    const { model, requests } = scriptModel(({ continuation }) => (continuation === ' c' ? -1 : -2));
    const { metrics } = await evaluate({ task: 'multiple_choice' }, [arc], model);
    expect(requests.pairs[0]).toEqual({ context: 'Question: Why?\nAnswer:', continuation: ' a' });
    expect(metrics.acc!.value).toBe(1);
  });

  test('few-shot examples come before the question', async () => {
    const { model, requests } = scriptModel(() => 0);
    await evaluate({ task: 'multiple_choice', num_fewshot: 1, fewshot_path: 'other.jsonl' }, [arc], model);
    expect(requests.pairs[0]!.context).toBe('Question: Why?\nAnswer: c\n\nQuestion: Why?\nAnswer:');
  });

  test.each([
    ['its number', 1],
    ['its letter', 'B'],
    ['its text', 'no'],
  ])('the right choice can be given by %s', async (_how, answer) => {
    const { model } = scriptModel(({ continuation }) => (continuation === ' no' ? 0 : -1));
    const columns = { question: 'q', choices: 'options', answer: 'right' };
    const row = { q: 'Is it?', options: ['yes', 'no'], right: answer };
    const { metrics } = await evaluate({ task: 'multiple_choice', columns }, [row], model);
    expect(metrics.acc!.value).toBe(1);
  });
});

describe('squad', () => {
  const article = {
    title: 'Tea',
    paragraphs: [
      {
        context: 'The tea is hot.',
        qas: [
          { id: 'a', question: 'What?', answers: [{ text: 'The tea' }, { text: 'hot tea' }] },
          { id: 'b', question: 'Unanswerable?', answers: [] },
        ],
      },
    ],
  };

  test('scores are percentages, the best over the references, after the official normalization', async () => {
    const { model } = scriptModel(() => 0, [' a Tea!']);
    const { results } = await evaluate({ task: 'squad' }, [article], model);
    expect(results.map(({ id, scores }) => ({ id, ...scores }))).toEqual([
      { id: 'a', exact_match: 100, f1: 100 },
    ]);
  });

  test('f1 counts a word as often as answer and reference both have it', async () => {
    const { model } = scriptModel(() => 0, ['hot hot water']);
    const { results } = await evaluate({ task: 'squad' }, [article], model);
    // Against "hot tea": precision 1/3, recall 1/2.
    expect(results[0]!.scores.f1).toBeCloseTo(40, 12);
  });

  test("the plain prompt is that of lm-evaluation-harness' squadv2, and an answer ends with its line", async () => {
    const { model, requests } = scriptModel(() => 0);
    await evaluate({ task: 'squad' }, [article], model);
    expect(requests.prompts).toEqual([
      'Title: Tea\n\nBackground: The tea is hot.\n\nQuestion: What?\n\nAnswer:',
    ]);
    expect(requests.options!.stop).toEqual(['\n']);
  });
});

describe('json_fields', () => {
  const row = { question: 'Facts?', answer: '{"capital":"Oslo","languages":["nb","nn"],"n":1}' };
  const scoreAnswer = async (answer: string) => {
    const { results } = await evaluate({ task: 'json_fields' }, [row], scriptModel(() => 0, [answer]).model);
    return results[0]!.scores;
  };

  test('each field is right or wrong by itself, whatever their order', async () => {
    expect(await scoreAnswer(' {"n":1,"languages":["nn","nb"],"capital":"Oslo"} ')).toEqual({
      valid_json: 1,
      exact: 0,
      fields: 2 / 3,
      'field/capital': 1,
      'field/languages': 0,
      'field/n': 1,
    });
  });

  test.each([
    ['words around the object', 'Here it is: {"n":1}'],
    ['a list', '[1]'],
    ['an object cut short', '{"n":1'],
  ])('%s is not a valid answer', async (_what, answer) => {
    expect(await scoreAnswer(answer)).toMatchObject({ valid_json: 0, fields: 0, 'field/n': 0 });
  });

  test("a model with a chat template gets messages, with the recipe's system message", async () => {
    const { model, requests } = scriptModel(() => 0, [], true);
    await evaluate({ task: 'json_fields', system_prompt: 'Be brief.' }, [row], model);
    expect(requests.prompts).toEqual([
      [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Facts?' },
      ],
    ]);
  });
});

test('perplexity is computed by token, word and byte over all documents together', async () => {
  const { model } = scriptModel(({ continuation }) => (continuation === 'one two' ? -7 : -8));
  const { metrics } = await evaluate({ task: 'perplexity' }, [{ text: 'one two' }, { text: 'é é é' }], model);
  expect(metrics.token_perplexity!.value).toBeCloseTo(Math.exp(15 / 12), 12);
  expect(metrics.word_perplexity!.value).toBeCloseTo(Math.exp(15 / 5), 12);
  expect(metrics.byte_perplexity!.value).toBeCloseTo(Math.exp(15 / 15), 12);
  expect(metrics.bits_per_byte!.value).toBeCloseTo(1 / Math.LN2, 12);
});

test('samples keep prompt and answer, and draws depend on the number of the prompt', async () => {
  const { model, requests } = scriptModel(() => 0, [' yes ', 'no']);
  const options = { task: 'samples', path: null, prompts: ['One?', 'Two?'], temperature: 0.7, seed: 3 };
  const { results, metrics } = await evaluate(options, [], model);
  expect(results.map(({ details }) => details)).toEqual([
    { prompt: 'One?', answer: 'yes' },
    { prompt: 'Two?', answer: 'no' },
  ]);
  expect(requests.options).toMatchObject({ temperature: 0.7, seed: 3, firstPrompt: 0 });
  expect(metrics).toEqual({});
});
