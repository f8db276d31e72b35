import { penalize, Sampler, type SamplingOptions } from '../../../components/generation/index.js';
import { ModelError } from '../../../shared/errors.js';
import { readGolden } from '../../support/goldens.js';

const greedy: SamplingOptions = {
  temperature: 0,
  topK: 0,
  topP: 1,
  repetitionPenalty: 1,
  seed: 0,
  stream: 0,
};

interface ProcessorCase {
  options: { temperature: number; top_k?: number; top_p?: number; repetition_penalty?: number };
  seen: number[];
  logits: number[];
  /** The tokens that transformers' processors leave, and their probabilities. */
  ids: number[];
  probabilities: number[];
}

const cases = readGolden<ProcessorCase[]>('generation', 'processors.json');

test.each(cases.map((golden) => [JSON.stringify(golden.options), golden] as const))(
  'sampling with %s keeps the tokens and probabilities that transformers keeps',
  (_, { options, seen, logits, ids, probabilities }) => {
    const { temperature, top_k = 0, top_p = 1, repetition_penalty = 1 } = options;
    const values = Float32Array.from(logits);
    penalize(values, seen, repetition_penalty);
    const distribution = new Sampler(64).distribution(values, { temperature, topK: top_k, topP: top_p });
    const candidates = Array.from(
      { length: distribution.count },
      (_, i) => [distribution.ids[i]!, distribution.weights[i]!] as const,
    );
    candidates.sort(([a], [b]) => a - b);
    // A double holds probabilities that are lost in a float32 sum over a vocabulary; they are left out here.
    const expected = ids.map((id, i) => [id, probabilities[i]!] as const).filter(([, p]) => p > 1e-15);
    expect(candidates.map(([id]) => id)).toEqual(expected.map(([id]) => id));
    const errors = candidates.map(([, weight], i) =>
      Math.abs(weight / distribution.total / expected[i]![1] - 1),
    );
    expect(Math.max(...errors)).toBeLessThan(1e-5);
  },
);

test('temperature 0 takes the best token, and the first of equal ones', () => {
  expect(new Sampler(4).next(Float32Array.of(1, 3, 3, 2), [], 0, greedy)).toBe(1);
});

test('a repetition penalty makes greedy search avoid a token that it has seen', () => {
  const options = { ...greedy, repetitionPenalty: 2 };
  expect(new Sampler(3).next(Float32Array.of(1, 3, 2), [1], 0, options)).toBe(2);
});

/** Returns logits like a language model's: few that matter, and a long tail. */
function vocabularyLogits(size: number): Float32Array {
  let state = 7;
  return Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return -4 * Math.log(1 - state / 2 ** 32);
  });
}

test('sampled tokens follow the distribution', () => {
  const sampler = new Sampler(6);
  const logits = [0.5, 2, -1, 1, 0, 1.5];
  const options = { ...greedy, temperature: 1, seed: 3 };
  const draws = 20_000;
  const counts = new Float64Array(6);
  for (let i = 0; i < draws; i++) counts[sampler.next(Float32Array.from(logits), [], i, options)]! += 1;
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
  const chi2 = logits.reduce((sum, logit, id) => {
    const expected = (draws * Math.exp(logit)) / total;
    return sum + (counts[id]! - expected) ** 2 / expected;
  }, 0);
  // The 99.9 % quantile of chi-squared with 5 degrees of freedom.
  expect(chi2).toBeLessThan(20.5);
});

test.each([
  ['top-k', { topK: 40 }],
  ['top-p', { topP: 0.9 }],
  ['neither top-k nor top-p', {}],
])('a draw with %s depends on seed, stream and position, and not on earlier draws', (_, options) => {
  const size = 8_000;
  const logits = vocabularyLogits(size);
  const draw = (sampler: Sampler, seed: number, stream: number, position: number) =>
    sampler.next(logits, [], position, { ...greedy, temperature: 5, ...options, seed, stream });
  const sampler = new Sampler(size);
  const tokens = Array.from({ length: 12 }, (_, position) => draw(sampler, 5, 1, position));
  expect(Array.from({ length: 12 }, (_, i) => draw(new Sampler(size), 5, 1, 11 - i)).reverse()).toEqual(
    tokens,
  );
  expect(Array.from({ length: 12 }, (_, position) => draw(sampler, 6, 1, position))).not.toEqual(tokens);
  expect(Array.from({ length: 12 }, (_, position) => draw(sampler, 5, 2, position))).not.toEqual(tokens);
});

test('top-p on a whole vocabulary keeps the same tokens as sorting all of it', () => {
  const logits = vocabularyLogits(49_152);
  for (const topP of [0.01, 0.5, 0.9, 0.99, 0.99999]) {
    const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
    const total = order.reduce((sum, id) => sum + Math.exp(logits[id]!), 0);
    let mass = 0;
    const nucleus = order.filter((id) => {
      const keep = mass < topP * total;
      mass += Math.exp(logits[id]!);
      return keep;
    });
    const distribution = new Sampler(49_152).distribution(logits, { temperature: 1, topK: 0, topP });
    expect([...distribution.ids.subarray(0, distribution.count)].sort((a, b) => a - b)).toEqual(
      nucleus.sort((a, b) => a - b),
    );
  }
});

test('logits without a finite value are a ModelError', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY])
    expect(() => new Sampler(2).next(Float32Array.of(value, value), [], 0, greedy)).toThrow(ModelError);
});
