import { type Rope, ropeTable } from '../../../components/models/index.js';
import { readGolden } from '../../support/goldens.js';

interface Table {
  rope: Rope;
  head_dim: number;
  positions: number[];
  rows: number[][];
}
const tables = readGolden<Record<string, Table>>('models', 'rope.json');

/** The golden has nine decimals; a frequency one unit off in its last place would show as up to 5e-4 at position 8191. */
const tolerance = 2e-7;

test.each(Object.keys(tables))('the %s table is transformers’, up to position 8191', (name) => {
  const { rope, head_dim: headDim, positions, rows } = tables[name]!;
  const table = ropeTable(rope, headDim, Math.max(...positions) + 1);
  let worst = 0;
  for (const [i, position] of positions.entries()) {
    for (const [j, expected] of rows[i]!.entries())
      worst = Math.max(worst, Math.abs(table[position * headDim + j]! - expected));
  }
  expect(worst).toBeLessThan(tolerance);
});

test('the RoPE table does not rotate position 0', () => {
  const table = ropeTable({ rope_type: 'default', rope_theta: 10_000 }, 8, 1);
  expect([...table]).toEqual([1, 1, 1, 1, 0, 0, 0, 0]);
});
