import { describeError, exitCodeFor } from '../../../cli/command/exit.js';
import { DataError, InvalidRecipe, ServiceUnavailable, UsageError } from '../../../shared/errors.js';

test.each([
  [new UsageError('x'), 2],
  [new InvalidRecipe([]), 2],
  [new ServiceUnavailable('x'), 75],
  [new DataError('x'), 1],
  [new TypeError('x'), 1],
])('the error %p exits with %i', (error, code) => {
  expect(exitCodeFor(error)).toBe(code);
});

test('a typed error is printed as its message, and a defect with its stack', () => {
  expect(describeError(new DataError('file.jsonl: line 3: …'))).toBe('file.jsonl: line 3: …');
  expect(describeError(new TypeError('x'))).toMatch(/TypeError: x\n\s+at /);
});
