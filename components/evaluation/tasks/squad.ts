/**
 * SQuAD 1.1 (Rajpurkar et al. 2016): answers by generation, scored as the official evaluate-v1.1.py does, in percent.
 * The plain prompt is lm-evaluation-harness' of `squadv2`.
 */
import { z } from 'zod';
import { split } from '../../../shared/python_text.js';
import { meansOfScores } from '../scoring/statistics.js';
import { type RowReader, rowError, type TaskDefinition, type TaskRow } from '../scoring/task.js';
import { allRows, requireColumn, requireRecord, textColumn } from './columns.js';
import { answerOptions, fileOptions } from './options.js';
import { conversation, usesChat } from './prompts.js';

const schema = z
  .strictObject({ task: z.literal('squad'), ...fileOptions, ...answerOptions(32) })
  .describe('SQuAD 1.1, articles as published or rows as the hub has them: exact_match and f1, in percent');

type Options = z.output<typeof schema>;

interface Example {
  id: string;
  title: string;
  context: string;
  question: string;
  answers: string[];
}

/**
 * Returns an answer in lower case, without punctuation and articles, with single spaces: the official
 * `normalize_answer`.
 */
export function normalizeAnswer(text: string): string {
  const plain = text.toLowerCase().replace(/[!"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]/g, '');
  // \b of Python covers every script's letters.
  const articles = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu;
  return split(plain.replace(articles, ' ')).join(' ');
}

/** Returns the harmonic mean of precision and recall over the words that both have, 0 to 1. */
export function f1(prediction: string, truth: string): number {
  const [predicted, true_] = [words(prediction), words(truth)];
  const left = new Map<string, number>();
  for (const word of true_) left.set(word, (left.get(word) ?? 0) + 1);
  let same = 0;
  for (const word of predicted) {
    const count = left.get(word) ?? 0;
    if (count > 0) same += 1;
    left.set(word, count - 1);
  }
  if (same === 0) return 0;
  const [precision, recall] = [same / predicted.length, same / true_.length];
  return (2 * precision * recall) / (precision + recall);
}

export const exactMatch = (prediction: string, truth: string): number =>
  Number(normalizeAnswer(prediction) === normalizeAnswer(truth));

const words = (text: string): string[] => split(normalizeAnswer(text));

/** Returns the examples of a row: an article's many, or the hub's one. Questions without an answer are left out. */
function parseExamples(row: TaskRow, path: string | readonly string[]): Example[] {
  const record = requireRecord(row, path);
  const title = typeof record.title === 'string' ? record.title : '';
  if ('paragraphs' in record) {
    return list(record.paragraphs).flatMap(({ context, qas }) =>
      list(qas).flatMap(({ id, question, answers }) => {
        const texts = list(answers).map(({ text }) => String(text));
        if (texts.length === 0) return [];
        return [
          { id: String(id), title, context: String(context), question: String(question), answers: texts },
        ];
      }),
    );
  }
  const answers = (requireColumn(record, 'answers', row, path) as { text?: unknown }).text;
  if (!Array.isArray(answers)) throw rowError(path, row, "'answers' has no list 'text'");
  if (answers.length === 0) return [];
  const [context, question] = ['context', 'question'].map((name) => textColumn(record, name, row, path));
  const id = String(record.id ?? row.location);
  return [{ id, title, context: context!, question: question!, answers: answers.map(String) }];
}

const list = (value: unknown): Record<string, unknown>[] =>
  Array.isArray(value) ? (value as Record<string, unknown>[]) : [];

async function readExamples({ path, limit }: Options, read: RowReader): Promise<Example[]> {
  // An article is one row and holds many questions, so the limit counts those.
  const rows = await allRows(read({ path, limit: null, textUnit: 'line' }));
  const examples = rows.flatMap((row) => parseExamples(row, path));
  return limit === null ? examples : examples.slice(0, limit);
}

const plainPrompt = ({ title, context, question }: Example): string =>
  `Title: ${title}\n\nBackground: ${context}\n\nQuestion: ${question}\n\nAnswer:`;

const chatPrompt = ({ context, question }: Example): string =>
  `${context}\n\n${question}\nAnswer with the fewest words of the text above that answer the question, and nothing else.`;

export const squad: TaskDefinition<Options, Example> = {
  task: 'squad',
  schema,
  needs: 'generation',
  partSize: 32,
  metrics: 'exact_match, f1',
  direction: (metric) => (metric === 'exact_match' || metric === 'f1' ? 'higher' : null),
  examples: readExamples,
  async evaluate(examples, { template, max_new_tokens }, model) {
    const chat = usesChat(template, model);
    const prompts = examples.map((example) =>
      chat ? conversation(null, chatPrompt(example)) : plainPrompt(example),
    );
    const answers = await model.generate(prompts, { maxNewTokens: max_new_tokens, stop: ['\n'] });
    return examples.map(({ id, question, answers: truths }, index) => {
      const answer = answers[index]!.trim();
      const best = (score: (prediction: string, truth: string) => number) =>
        100 * Math.max(...truths.map((truth) => score(answer, truth)));
      return {
        id,
        scores: { exact_match: best(exactMatch), f1: best(f1) },
        details: { prompt: question, reference: truths, answer },
      };
    });
  },
  aggregate: meansOfScores,
};
