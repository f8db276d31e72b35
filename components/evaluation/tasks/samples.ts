/** Answers for people to read: no score, kept side by side for each step at which they were asked for. */
import { z } from 'zod';
import type { TaskDefinition } from '../scoring/task.js';
import { allRows, requireRecord, textColumn } from './columns.js';
import { answerOptions, fileOptions } from './options.js';
import { conversation, usesChat } from './prompts.js';

const schema = z
  .strictObject({
    task: z.literal('samples'),
    path: fileOptions.path.nullable().default(null),
    limit: fileOptions.limit,
    prompts: z
      .array(z.string().min(1))
      .min(1)
      .nullable()
      .default(null)
      .describe('prompts, given in the recipe'),
    column: z.string().min(1).default('prompt').describe('column of the prompts in the file'),
    system_prompt: z.string().nullable().default(null).describe('system message of the chat template'),
    ...answerOptions(128),
    stop: z.array(z.string().min(1)).default([]).describe('strings that end an answer, which excludes them'),
    temperature: z
      .number()
      .min(0)
      .default(0)
      .describe('sampling temperature; 0 always takes the likeliest token'),
    top_p: z
      .number()
      .gt(0)
      .max(1)
      .default(1)
      .describe('sample from the likeliest tokens whose probabilities sum to this'),
    seed: z.int().min(0).default(0).describe('random seed for sampling'),
  })
  .superRefine(({ path, prompts }, context) => {
    if ((path === null) === (prompts === null))
      context.addIssue({ code: 'custom', path: ['prompts'], message: 'give either prompts or path' });
  })
  .describe('answers to prompts of a file or of the recipe, without a score');

type Options = z.output<typeof schema>;

interface Example {
  id: string;
  /** Number of the prompt from 0, on which its draws depend. */
  index: number;
  prompt: string;
}

export const samples: TaskDefinition<Options, Example> = {
  task: 'samples',
  schema,
  needs: 'generation',
  partSize: 32,
  metrics: 'none',
  direction: () => null,
  async examples({ path, limit, prompts, column }, read) {
    if (prompts !== null)
      return prompts
        .slice(0, limit ?? undefined)
        .map((prompt, index) => ({ id: `prompt ${index + 1}`, index, prompt }));
    const rows = await allRows(read({ path: path!, limit, textUnit: 'line' }));
    return rows.map((row, index) => ({
      id: row.location,
      index,
      prompt:
        typeof row.value === 'string' ? row.value : textColumn(requireRecord(row, path!), column, row, path!),
    }));
  },
  async evaluate(examples, options, model) {
    const chat = usesChat(options.template, model);
    const { max_new_tokens: maxNewTokens, stop, temperature, top_p: topP, seed, system_prompt } = options;
    const prompts = examples.map(({ prompt }) => (chat ? conversation(system_prompt, prompt) : prompt));
    const firstPrompt = examples[0]?.index ?? 0;
    const answers = await model.generate(prompts, {
      maxNewTokens,
      stop,
      temperature,
      topP,
      seed,
      firstPrompt,
    });
    return examples.map(({ id, prompt }, index) => ({
      id,
      scores: {},
      details: { prompt, answer: answers[index]!.trim() },
    }));
  },
  aggregate: () => ({}),
};
