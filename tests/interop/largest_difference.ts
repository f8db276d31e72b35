/** Returns the largest |a − b| over all tokens, and expects that the documents have the same lengths. */
export function largestDifference(a: number[][], b: number[][]): number {
  expect(a.map(({ length }) => length)).toEqual(b.map(({ length }) => length));
  return Math.max(...a.flatMap((row, i) => row.map((value, j) => Math.abs(value - b[i]![j]!))));
}
