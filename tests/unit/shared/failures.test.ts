import { DataError, InvalidRecipe, StorageError, TemperError } from '../../../shared/errors.js';
import { encodeFailure, errorFrom } from '../../../shared/processes/failures.js';

/** Returns the error as the other end of a channel throws it. */
const sendThrough = (error: unknown) => errorFrom(structuredClone(encodeFailure(error)));

test.each([new DataError('row 3'), new StorageError('disk full')])(
  'a $name that crosses a process keeps class and code',
  (error) => {
    expect(sendThrough(error)).toBeInstanceOf(error.constructor);
    expect(sendThrough(error)).toMatchObject({ code: error.code, message: error.message });
  },
);

test('an error that crosses a process keeps the code of another room', () => {
  const error = sendThrough(new TemperError('RequirementNotMet', 'acc is 0.1'));
  expect(error).toBeInstanceOf(TemperError);
  expect(error).toMatchObject({ code: 'RequirementNotMet', message: 'acc is 0.1' });
});

test('an InvalidRecipe that crosses a process keeps its problems', () => {
  const problems = [{ key: 'seed', message: 'not a number', file: 'r.yaml', line: 3, column: 7 }];
  const error = sendThrough(new InvalidRecipe(problems));
  expect(error).toBeInstanceOf(InvalidRecipe);
  expect(error).toMatchObject({ problems, message: new InvalidRecipe(problems).message });
});

test("an error that crosses a process keeps the operating system's code", () => {
  const diskFull = Object.assign(new Error('ENOSPC: no space left on device, write'), {
    code: 'ENOSPC',
    errno: -28,
  });
  expect(sendThrough(diskFull)).toMatchObject({ code: 'ENOSPC', message: diskFull.message });
});

test('a defect that crosses a process keeps its name and stack', () => {
  const defect = new TypeError('x is undefined');
  expect(sendThrough(defect)).toMatchObject({ name: 'TypeError', stack: defect.stack });
});
