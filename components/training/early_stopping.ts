import type { TrainerState } from '../../contracts/commit.js';
import type { EarlyStopping } from './schema.js';

type Best = TrainerState['best'];

/** The best validation so far after one more, and how many in a row were no improvement. Lower is better. */
export function updateBest(
  best: Best,
  metric: string,
  value: number,
  step: number,
  minDelta: number,
): NonNullable<Best> {
  if (best === null || value < best.value - minDelta) return { metric, value, step, misses: 0 };
  return { ...best, misses: best.misses + 1 };
}

export function shouldStop(best: Best, rule: EarlyStopping | null): boolean {
  return rule !== null && best !== null && best.misses >= rule.patience;
}
