/** Means over examples and their standard errors, as lm-evaluation-harness has them. */
import type { Estimate, ExampleResult } from './task.js';

/** Returns the mean, and the sample's standard deviation (n − 1) ÷ √n. */
export function meanEstimate(values: readonly number[]): Estimate {
  const n = values.length;
  const value = values.reduce((sum, each) => sum + each, 0) / n;
  if (n < 2) return { value, stderr: null, n };
  const squares = values.reduce((sum, each) => sum + (each - value) ** 2, 0);
  return { value, stderr: Math.sqrt(squares / (n - 1) / n), n };
}

/** Returns the mean of every score over the examples that have it. */
export function meansOfScores(results: readonly ExampleResult[]): Record<string, Estimate> {
  const values = new Map<string, number[]>();
  for (const { scores } of results) {
    for (const [metric, score] of Object.entries(scores)) {
      const metricValues = values.get(metric) ?? [];
      metricValues.push(score);
      values.set(metric, metricValues);
    }
  }
  return Object.fromEntries([...values].map(([metric, each]) => [metric, meanEstimate(each)]));
}

/**
 * Returns Σ numerator ÷ Σ denominator with the standard error of a ratio estimator over independent documents (Cochran,
 * Sampling Techniques, 6.4): √(n/(n−1) Σ (yᵢ − r xᵢ)²) ÷ Σ xᵢ.
 */
export function ratioEstimate(pairs: readonly { numerator: number; denominator: number }[]): Estimate {
  const n = pairs.length;
  const [top, bottom] = [sum(pairs, 'numerator'), sum(pairs, 'denominator')];
  const value = top / bottom;
  if (n < 2) return { value, stderr: null, n };
  const squares = pairs.reduce(
    (total, { numerator, denominator }) => total + (numerator - value * denominator) ** 2,
    0,
  );
  return { value, stderr: Math.sqrt((n / (n - 1)) * squares) / bottom, n };
}

const sum = <K extends string>(rows: readonly Record<K, number>[], key: K): number =>
  rows.reduce((total, row) => total + row[key], 0);
