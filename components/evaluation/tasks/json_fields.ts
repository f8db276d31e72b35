/** Answers that are to be a JSON object: is it one, and which of its fields are right? */
import { z } from 'zod';
import { canonicalJson } from '../../../shared/digest.js';
import { meansOfScores } from '../scoring/statistics.js';
import { rowError, type TaskDefinition } from '../scoring/task.js';
import { allRows, requireColumn, requireRecord, textColumn } from './columns.js';
import { answerOptions, fileOptions } from './options.js';
import { conversation, usesChat } from './prompts.js';

const schema = z
  .strictObject({
    task: z.literal('json_fields'),
    ...fileOptions,
    columns: z
      .strictObject({
        question: z.string().min(1).default('question').describe('column of the prompt'),
        answer: z
          .string()
          .min(1)
          .default('answer')
          .describe('column of the reference: an object, or its JSON'),
      })
      .prefault({})
      .describe('names of the columns'),
    system_prompt: z.string().nullable().default(null).describe('system message of the chat template'),
    ...answerOptions(256),
  })
  .describe(
    'answers as JSON: valid_json, exact (all as in the reference), fields (share of correct fields) and field/<name>',
  );

type Options = z.output<typeof schema>;
type Fields = Record<string, unknown>;

interface Example {
  id: string;
  question: string;
  reference: Fields;
}

const fixed = ['valid_json', 'exact', 'fields'];

function asObject(value: unknown): Fields | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

function parseObject(text: string): Fields | null {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Returns the scores of one answer. The whole of it must be the object: words around it make it no JSON. */
export function scoreAnswer(answer: string, reference: Fields): Record<string, number> {
  const fields = parseObject(answer);
  const right = Object.entries(reference).map(
    ([name, value]) =>
      [
        name,
        Number(
          fields !== null &&
            Object.hasOwn(fields, name) &&
            canonicalJson(fields[name]) === canonicalJson(value),
        ),
      ] as const,
  );
  const share = right.length === 0 ? 1 : right.reduce((sum, [, score]) => sum + score, 0) / right.length;
  return {
    valid_json: Number(fields !== null),
    exact: Number(fields !== null && canonicalJson(fields) === canonicalJson(reference)),
    fields: share,
    ...Object.fromEntries(right.map(([name, score]) => [`field/${name}`, score])),
  };
}

export const jsonFields: TaskDefinition<Options, Example> = {
  task: 'json_fields',
  schema,
  needs: 'generation',
  partSize: 32,
  metrics: 'valid_json, exact, fields, field/<name>',
  direction: (metric) => (fixed.includes(metric) || metric.startsWith('field/') ? 'higher' : null),
  async examples({ path, limit, columns }, read) {
    const rows = await allRows(read({ path, limit, textUnit: 'line' }));
    return rows.map((row) => {
      const record = requireRecord(row, path);
      const answer = requireColumn(record, columns.answer, row, path);
      const reference = typeof answer === 'string' ? parseObject(answer) : asObject(answer);
      if (reference === null) throw rowError(path, row, `'${columns.answer}' is not a JSON object`);
      return { id: row.location, question: textColumn(record, columns.question, row, path), reference };
    });
  },
  async evaluate(examples, { template, system_prompt, max_new_tokens }, model) {
    const chat = usesChat(template, model);
    const prompts = examples.map(({ question }) =>
      chat ? conversation(system_prompt, question) : `${question} `,
    );
    const answers = await model.generate(prompts, {
      maxNewTokens: max_new_tokens,
      stop: chat ? [] : ['\n'],
    });
    return examples.map(({ id, question, reference }, index) => {
      const answer = answers[index]!.trim();
      return {
        id,
        scores: scoreAnswer(answer, reference),
        details: { prompt: question, reference: JSON.stringify(reference), answer },
      };
    });
  },
  aggregate: meansOfScores,
};
