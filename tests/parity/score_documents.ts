/** Scores documents as `temper score` does, and compares scores. */
import type { Precision } from '../../graph/index.js';
import { Scorer } from '../../recipes/index.js';

interface Document {
  input_ids: number[];
}

/** Returns log p(token i+1 | ≤ i) for each document, all of them scored in one packed buffer. */
export async function scoreDocuments(
  folder: string,
  documents: readonly Document[],
  precision: Precision,
  adapter: string | null = null,
): Promise<number[][]> {
  const scorer = await Scorer.open(folder, { adapter, precision: precision === 'bf16' ? 'bf16' : 'fp32' });
  try {
    const scores = await scorer.score(documents.map(({ input_ids }) => input_ids));
    return scores.map((row) => [...row]);
  } finally {
    await scorer.close();
  }
}

/** Returns the largest |a − b| over all tokens. */
export function distance(a: number[][], b: number[][]): number {
  return Math.max(...differences(a, b).map(Math.abs));
}

/** Returns the root of the mean square of a − b: one outlier among a few tokens says little about a precision. */
export function rms(a: number[][], b: number[][]): number {
  const errors = differences(a, b);
  return Math.sqrt(errors.reduce((sum, x) => sum + x * x, 0) / errors.length);
}

function differences(a: number[][], b: number[][]): number[] {
  return a.flatMap((row, i) => row.map((value, j) => value - b[i]![j]!));
}
