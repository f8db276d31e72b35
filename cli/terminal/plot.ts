/**
 * Returns a curve as text: one braille dot for each cell of a grid of 2×4 dots a character, with the range of y on the
 * left.
 *
 * @param values y in order of x; those that are not finite are left out
 * @param width characters across, @param height characters down
 */
export function plot(values: readonly number[], width = 60, height = 8): string {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return '';
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const span = high - low || 1;
  const columns = Math.min(width, Math.ceil(values.length / 2) || 1) * 2;
  const rows = height * 4;
  const dots = Array.from({ length: height }, () => new Uint8Array(columns / 2));
  const dotBits = [
    [0x01, 0x02, 0x04, 0x40],
    [0x08, 0x10, 0x20, 0x80],
  ];
  let previous: number | null = null;
  for (let x = 0; x < columns; x++) {
    const from = Math.floor((x * values.length) / columns);
    const to = Math.max(from + 1, Math.floor(((x + 1) * values.length) / columns));
    const group = values.slice(from, to).filter(Number.isFinite);
    if (group.length === 0) continue;
    const mean = group.reduce((sum, value) => sum + value, 0) / group.length;
    const y = Math.round(((high - mean) / span) * (rows - 1));
    // Joined to the last dot, so that a steep fall reads as a line.
    const [top, bottom] = previous === null ? [y, y] : [Math.min(y, previous), Math.max(y, previous)];
    for (let dot = top; dot <= bottom; dot++) dots[dot >> 2]![x >> 1]! |= dotBits[x & 1]![dot & 3]!;
    previous = y;
  }
  const label = (row: number) => (row === 0 ? high.toFixed(3) : row === height - 1 ? low.toFixed(3) : '');
  return dots
    .map(
      (line, row) =>
        `${label(row).padStart(8)} ┤${[...line].map((bits) => String.fromCharCode(0x2800 + bits)).join('')}`,
    )
    .join('\n');
}
