/**
 * Multiple choice over any rows with a question, choices and an answer. By default its options are those of
 * lm-evaluation-harness' `arc_easy` and `arc_challenge` (Clark et al. 2018), and rows are ARC's as the hub has them.
 */
import { z } from 'zod';
import { type RowReader, rowError, type TaskDefinition, type TaskRow } from '../scoring/task.js';
import { type ChoiceExample, choiceMetrics, fewShotContext, scoreChoices } from './choices.js';
import { allRows, requireColumn, requireRecord, textColumn } from './columns.js';
import { checkFewShot, fewShotOptions, fileOptions } from './options.js';

const schema = z
  .strictObject({
    task: z.literal('multiple_choice'),
    ...fileOptions,
    ...fewShotOptions,
    columns: z
      .strictObject({
        question: z.string().min(1).default('question').describe('column of the question'),
        choices: z
          .string()
          .min(1)
          .default('choices')
          .describe('column of the choices: a list of texts, or ARC\'s {"text": […], "label": […]}'),
        answer: z
          .string()
          .min(1)
          .default('answerKey')
          .describe('column of the right choice: its label, its number from 0, or its text'),
      })
      .prefault({})
      .describe('names of the columns'),
    prompt_template: z
      .string()
      .default('Question: {question}\nAnswer:')
      .refine((template) => template.includes('{question}'), 'has no {question}')
      .describe('text that the choices complete'),
  })
  .superRefine(checkFewShot)
  .describe('multiple choice in the manner of ARC: acc and acc_norm');

type Options = z.output<typeof schema>;
type Question = Omit<ChoiceExample, 'fewShot'>;

function parseExample(row: TaskRow, path: string | readonly string[], options: Options): Question {
  const record = requireRecord(row, path);
  const { columns, prompt_template } = options;
  const { choices, labels } = parseChoices(requireColumn(record, columns.choices, row, path), row, path);
  const answer = requireColumn(record, columns.answer, row, path);
  const gold = findGold(answer, choices, labels);
  if (gold < 0)
    throw rowError(
      path,
      row,
      `'${columns.answer}' is ${JSON.stringify(answer)}, which is not one of the choices`,
    );
  const question = textColumn(record, columns.question, row, path);
  return {
    id: String(record.id ?? row.location),
    context: prompt_template.replaceAll('{question}', () => question),
    choices,
    gold,
  };
}

function parseChoices(value: unknown, row: TaskRow, path: string | readonly string[]) {
  const { text, label } = Array.isArray(value)
    ? { text: value as unknown[], label: null }
    : (value as { text?: unknown; label?: unknown });
  if (!isTexts(text) || text.length < 2)
    throw rowError(path, row, 'the choices are not a list of two texts or more');
  if (label == null) return { choices: text, labels: null };
  if (!isTexts(label) || label.length !== text.length)
    throw rowError(path, row, 'the choices have labels, but not one each');
  return { choices: text, labels: label };
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === 'string');

/** Returns the index of the right choice; −1 when the answer is not one of them. */
function findGold(answer: unknown, choices: readonly string[], labels: readonly string[] | null): number {
  if (labels?.includes(String(answer))) return labels.indexOf(String(answer));
  if (typeof answer === 'number') return answer in choices ? answer : -1;
  if (typeof answer !== 'string') return -1;
  if (choices.includes(answer)) return choices.indexOf(answer);
  if (labels !== null) return -1;
  if (/^\d+$/.test(answer)) return Number(answer) in choices ? Number(answer) : -1;
  const letter = /^[A-Z]$/.test(answer) ? answer.charCodeAt(0) - 65 : -1;
  return letter in choices ? letter : -1;
}

async function readExamples(
  path: string | string[],
  limit: number | null,
  options: Options,
  read: RowReader,
) {
  const rows = await allRows(read({ path, limit, textUnit: 'line' }));
  return rows.map((row) => parseExample(row, path, options));
}

export const multipleChoice: TaskDefinition<Options, ChoiceExample> = {
  task: 'multiple_choice',
  schema,
  needs: 'likelihood',
  partSize: 32,
  ...choiceMetrics,
  async examples(options, read) {
    const solved =
      options.num_fewshot === 0
        ? []
        : await readExamples(options.fewshot_path!, options.num_fewshot, options, read);
    const fewShot = fewShotContext(solved);
    const examples = await readExamples(options.path, options.limit, options, read);
    return examples.map((example) => ({ ...example, fewShot }));
  },
  evaluate: (examples, _options, model) => scoreChoices(examples, model),
};
