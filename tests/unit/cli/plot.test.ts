import { plot } from '../../../cli/terminal/plot.js';

test('a falling curve starts at the top left and ends at the bottom right', () => {
  const lines = plot([4, 3, 2, 1], 2, 2).split('\n');
  expect(lines[0]).toMatch(/4\.000 ┤[^⠀]/);
  expect(lines[1]).toMatch(/1\.000 ┤.*[^⠀]$/);
});

test('a constant curve and a single value are plotted', () => {
  expect(plot([2, 2, 2], 4, 2)).toContain('2.000');
  expect(plot([2])).toContain('2.000');
});

test('values that are not finite leave a gap instead of spoiling the range', () => {
  expect(plot([1, Number.NaN, 2])).toContain('2.000');
});

test('a plot of no values is empty', () => {
  expect(plot([])).toBe('');
});
