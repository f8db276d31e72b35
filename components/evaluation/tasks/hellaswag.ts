/**
 * HellaSwag (Zellers et al. 2019): which of four endings continues the context? As lm-evaluation-harness' `hellaswag`.
 */
import { z } from 'zod';
import { cleanHellaswag } from '../../../shared/hellaswag_text.js';
import { capitalize } from '../../../shared/python_text.js';
import { type RowReader, rowError, type TaskDefinition, type TaskRow } from '../scoring/task.js';
import { type ChoiceExample, choiceMetrics, fewShotContext, scoreChoices } from './choices.js';
import { allRows, requireColumn, requireRecord, textColumn, textsColumn } from './columns.js';
import { checkFewShot, fewShotOptions, fileOptions } from './options.js';

const schema = z
  .strictObject({ task: z.literal('hellaswag'), ...fileOptions, ...fewShotOptions })
  .superRefine(checkFewShot)
  .describe('HellaSwag: acc and acc_norm over rows with activity_label, ctx_a, ctx_b, endings and label');

type Options = z.output<typeof schema>;
type Question = Omit<ChoiceExample, 'fewShot'>;

function parseExample(row: TaskRow, path: string | readonly string[]): Question {
  const record = requireRecord(row, path);
  const text = (name: string) => textColumn(record, name, row, path);
  const gold = Number(requireColumn(record, 'label', row, path));
  const choices = textsColumn(record, 'endings', row, path).map(cleanHellaswag);
  if (!(gold in choices)) throw rowError(path, row, `'label' is ${gold}, which is not an index of 'endings'`);
  return {
    id: String(record.ind ?? row.location),
    context: cleanHellaswag(`${text('activity_label')}: ${text('ctx_a')} ${capitalize(text('ctx_b'))}`),
    choices,
    gold,
  };
}

async function readExamples(path: string | string[], limit: number | null, read: RowReader) {
  const rows = await allRows(read({ path, limit, textUnit: 'line' }));
  return rows.map((row) => parseExample(row, path));
}

export const hellaswag: TaskDefinition<Options, ChoiceExample> = {
  task: 'hellaswag',
  schema,
  needs: 'likelihood',
  partSize: 32,
  ...choiceMetrics,
  async examples(options, read) {
    const solved =
      options.num_fewshot === 0 ? [] : await readExamples(options.fewshot_path!, options.num_fewshot, read);
    const fewShot = fewShotContext(solved);
    return (await readExamples(options.path, options.limit, read)).map((example) => ({
      ...example,
      fewShot,
    }));
  },
  evaluate: (examples, _options, model) => scoreChoices(examples, model),
};
