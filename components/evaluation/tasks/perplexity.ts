/** Perplexity of texts by token, word and byte, as lm-evaluation-harness' `wikitext`. */
import { z } from 'zod';
import { splitAtSpace } from '../../../shared/python_text.js';
import { ratioEstimate } from '../scoring/statistics.js';
import type { Estimate, ExampleResult, TaskDefinition } from '../scoring/task.js';
import { requireColumn, requireRecord } from './columns.js';
import { fileOptions } from './options.js';

const schema = z
  .strictObject({
    task: z.literal('perplexity'),
    ...fileOptions,
    column: z.string().min(1).default('text').describe('the text column of JSON, CSV and Parquet'),
    documents: z
      .enum(['file', 'paragraph', 'line'])
      .default('file')
      .describe('unit of a plain text file that is one document; paragraphs end with a blank line'),
  })
  .describe('perplexity of texts: token_perplexity, word_perplexity, byte_perplexity and bits_per_byte');

type Options = z.output<typeof schema>;

interface Example {
  id: string;
  text: string;
}

const metrics = ['token_perplexity', 'word_perplexity', 'byte_perplexity', 'bits_per_byte'];

/** Returns exp(−Σ log p ÷ Σ unit); its standard error by the delta method. */
function perplexityPer(unit: string, results: readonly ExampleResult[]): Estimate {
  const { value, stderr, n } = ratioEstimate(
    results.map(({ scores }) => ({ numerator: -scores.logprob!, denominator: scores[unit]! })),
  );
  return { value: Math.exp(value), stderr: stderr === null ? null : stderr * Math.exp(value), n };
}

export const perplexity: TaskDefinition<Options, Example> = {
  task: 'perplexity',
  schema,
  needs: 'likelihood',
  partSize: 8,
  metrics: metrics.join(', '),
  direction: (metric) => (metrics.includes(metric) ? 'lower' : null),
  async examples({ path, limit, column, documents }, read) {
    const examples: Example[] = [];
    for await (const row of read({ path, limit, textUnit: documents })) {
      const { value } = row;
      const text =
        typeof value === 'string' ? value : requireColumn(requireRecord(row, path), column, row, path);
      const document = typeof text === 'string' ? text : JSON.stringify(text);
      if (document !== '') examples.push({ id: row.location, text: document });
    }
    return examples;
  },
  async evaluate(examples, _options, model) {
    const likelihoods = await model.rollingLoglikelihoods(examples.map(({ text }) => text));
    return examples.map(({ id, text }, index) => {
      const { logprob, tokens } = likelihoods[index]!;
      const bytes = Buffer.byteLength(text);
      return { id, scores: { logprob, tokens, words: splitAtSpace(text).length, bytes }, details: {} };
    });
  },
  aggregate(results) {
    const perByte = ratioEstimate(
      results.map(({ scores }) => ({ numerator: -scores.logprob! / Math.LN2, denominator: scores.bytes! })),
    );
    return {
      token_perplexity: perplexityPer('tokens', results),
      word_perplexity: perplexityPer('words', results),
      byte_perplexity: perplexityPer('bytes', results),
      bits_per_byte: perByte,
    };
  },
};
