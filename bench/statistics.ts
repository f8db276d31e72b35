export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Returns the least and the greatest value. */
export function spread(values: readonly number[], digits: number): string {
  return `${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)}`;
}

/**
 * Returns the 95 % bootstrap interval of the median (Efron 1979, percentile method), from the
 * medians of 10,000 samples drawn from `values` with replacement. The draws are the same every time.
 */
export function medianInterval(values: readonly number[]): [low: number, high: number] {
  let state = 1;
  const draw = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return values[Math.floor((state / 2 ** 32) * values.length)]!;
  };
  const medians = Array.from({ length: 10_000 }, () => median(values.map(draw))).sort((a, b) => a - b);
  return [medians[250]!, medians[9749]!];
}
