/** Multiple choice by log-likelihood: what HellaSwag, ARC and their like have in common. */
import { length } from '../../../shared/python_text.js';
import { meansOfScores } from '../scoring/statistics.js';
import type { Direction, EvaluatedModel, ExampleResult } from '../scoring/task.js';

export interface ChoiceExample {
  id: string;
  context: string;
  /** Without the delimiter before them. */
  choices: string[];
  /** Index of the right one. */
  gold: number;
  /** Solved examples before it, as text. */
  fewShot: string;
}

/** Stands between a question and its answer (lm-evaluation-harness' `target_delimiter`). */
const targetDelimiter = ' ';
/** Stands between solved examples (`fewshot_delimiter`). */
const fewShotDelimiter = '\n\n';

/** Returns solved examples as the text that goes before a question. */
export const fewShotContext = (examples: readonly Omit<ChoiceExample, 'fewShot'>[]): string =>
  examples
    .map(({ context, choices, gold }) => context + targetDelimiter + choices[gold]! + fewShotDelimiter)
    .join('');

/**
 * Scores a question. `acc`: the choice of the highest log-likelihood is the right one. `acc_norm`: the same of
 * log-likelihood ÷ the choice's length in characters. Of choices that tie, the first counts, as in numpy's argmax.
 */
export async function scoreChoices(
  examples: readonly ChoiceExample[],
  model: EvaluatedModel,
): Promise<ExampleResult[]> {
  const pairs = examples.flatMap(({ context, choices, fewShot }) =>
    choices.map((choice) => ({ context: fewShot + context, continuation: targetDelimiter + choice })),
  );
  const likelihoods = await model.loglikelihoods(pairs);
  let position = 0;
  return examples.map(({ id, context, choices, gold }) => {
    const logprobs = likelihoods.slice(position, position + choices.length).map(({ logprob }) => logprob);
    position += choices.length;
    const chosen = argmax(logprobs);
    const chosenNorm = argmax(logprobs.map((logprob, i) => logprob / length(choices[i]!)));
    return {
      id,
      scores: { acc: Number(chosen === gold), acc_norm: Number(chosenNorm === gold) },
      details: { context, choices, gold, logprobs, chosen, chosen_norm: chosenNorm },
    };
  });
}

export const choiceMetrics = {
  metrics: 'acc, acc_norm',
  direction: (metric: string): Direction | null =>
    metric === 'acc' || metric === 'acc_norm' ? 'higher' : null,
  aggregate: meansOfScores,
};

const argmax = (values: readonly number[]): number =>
  values.reduce((best, value, index) => (value > values[best]! ? index : best), 0);
