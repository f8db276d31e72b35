/** Chooses the source of the next document. */

export interface WeightedSource {
  weight: number;
  /** Documents it has. */
  documents: number;
}

/**
 * Yields the source numbers in an order that keeps every prefix as near to the weights as whole documents allow: each
 * time the source that is furthest behind its share comes next, the first of several that tie. Ends when one source has
 * no more (`first_exhausted`), or when every source was used up once, those that end sooner starting again.
 */
export function* interleave(
  sources: readonly WeightedSource[],
  stop: 'first_exhausted' | 'all_exhausted',
): Generator<number> {
  const total = sources.reduce((sum, { weight }) => sum + weight, 0);
  const drawCounts = sources.map(() => 0);
  for (let count = 1; ; count += 1) {
    let next = 0;
    let behind = Number.NEGATIVE_INFINITY;
    for (const [index, { weight }] of sources.entries()) {
      const deficit = (count * weight) / total - drawCounts[index]!;
      if (deficit > behind) {
        behind = deficit;
        next = index;
      }
    }
    const exhausted = sources.map(({ documents }, index) => drawCounts[index]! >= documents);
    if (stop === 'first_exhausted' ? exhausted[next] : exhausted.every(Boolean)) return;
    drawCounts[next]! += 1;
    yield next;
  }
}
