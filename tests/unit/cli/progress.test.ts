import { ProgressDisplay } from '../../../cli/terminal/progress.js';

/** Returns a display without a terminal, whose interval never ends, and the lines that it wrote. */
function plainDisplay(): { display: ProgressDisplay; lines: () => string[] } {
  const output: string[] = [];
  const stream = { isTTY: false, write: (text: string) => output.push(text) > 0 };
  const display = new ProgressDisplay(stream as unknown as NodeJS.WriteStream, Number.POSITIVE_INFINITY);
  return { display, lines: () => output.join('').split('\n').slice(0, -1) };
}

test('without a terminal every new status is a line', () => {
  const { display, lines } = plainDisplay();
  display.status('preparing the model');
  display.status('waiting for a host with a free slot');
  expect(lines()).toEqual(['preparing the model', 'waiting for a host with a free slot']);
});

test('without a terminal a status that differs only in its counts is a line once per interval', () => {
  const { display, lines } = plainDisplay();
  for (const count of [1, 20, 300]) display.status(`preparing data: train: ${count} documents (${count} %)`);
  expect(lines()).toEqual(['preparing data: train: 1 documents (1 %)']);
});
