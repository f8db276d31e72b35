/** "Did you mean": the known word nearest to a mistyped one. */

/** Returns the optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbors. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const current = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(previous[j]! + 1, current[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, before[j - 2]! + 1);
      current.push(cost);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length]!;
}

const normal = (word: string): string => word.toLowerCase().replace(/[-_\s]/g, '');

/**
 * Returns the nearest of `candidates`, when near enough to be meant; else one that contains the word or is contained in
 * it.
 */
export function suggestion(word: string, candidates: readonly string[]): string | null {
  const target = normal(word);
  if (target === '') return null;
  let best: string | null = null;
  let least = Math.max(1, Math.floor(target.length / 3)) + 1;
  for (const candidate of candidates) {
    // Each letter that one has more costs an insertion.
    if (Math.abs(normal(candidate).length - target.length) >= least) continue;
    const distance = editDistance(target, normal(candidate));
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  if (best !== null || target.length < 3) return best;
  return (
    candidates.find(
      (candidate) => normal(candidate).includes(target) || target.includes(normal(candidate)),
    ) ?? null
  );
}

/** Returns ` Did you mean 'x'?`, else ` Known: …`, else nothing. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const near = suggestion(word, candidates);
  if (near !== null) return `; did you mean '${near}'?`;
  return candidates.length === 0 ? '' : `; known here: ${candidates.join(', ')}`;
}
