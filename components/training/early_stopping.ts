import type { TrainerState } from '../../contracts/index.js';
import type { EarlyStopping } from './schema.js';

type Best = TrainerState['best'];

export interface Observation {
  metric: string;
  value: number;
  step: number;
  /** Direction in which the metric is better. */
  direction: 'higher' | 'lower';
  /** An improvement smaller than this is none. */
  minDelta: number;
}

/**
 * Returns the best value so far after one more, and how many in a row were no improvement. Another metric begins
 * afresh.
 */
export function updateBest(
  best: Best,
  { metric, value, step, direction, minDelta }: Observation,
): NonNullable<Best> {
  const gain = best === null ? 0 : direction === 'higher' ? value - best.value : best.value - value;
  if (best === null || best.metric !== metric || gain > minDelta) return { metric, value, step, misses: 0 };
  return { ...best, misses: best.misses + 1 };
}

export function shouldStop(best: Best, rule: EarlyStopping | null): boolean {
  return rule !== null && best?.metric === rule.metric && best.misses >= rule.patience;
}
