import { DataError, InvalidRecipe, StorageError, TemperError } from '../../../shared/errors.js';
import { encodeFailure, errorFrom } from '../../../shared/processes/failures.js';

/** The error as the other end of a channel throws it. */
const received = (error: unknown) => errorFrom(structuredClone(encodeFailure(error)));

test.each([new DataError('row 3'), new StorageError('disk full')])('$name keeps class and code', (error) => {
  expect(received(error)).toBeInstanceOf(error.constructor);
  expect(received(error)).toMatchObject({ code: error.code, message: error.message });
});

test('a code of another room stays', () => {
  const error = received(new TemperError('RequirementNotMet', 'acc is 0.1'));
  expect(error).toBeInstanceOf(TemperError);
  expect(error).toMatchObject({ code: 'RequirementNotMet', message: 'acc is 0.1' });
});

test('the problems of an InvalidRecipe stay', () => {
  const problems = [{ key: 'seed', message: 'not a number', file: 'r.yaml', line: 3, column: 7 }];
  const error = received(new InvalidRecipe(problems));
  expect(error).toBeInstanceOf(InvalidRecipe);
  expect(error).toMatchObject({ problems, message: new InvalidRecipe(problems).message });
});

test("the operating system's code stays", () => {
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
    code: 'ENOSPC',
    errno: -28,
  });
  expect(received(full)).toMatchObject({ code: 'ENOSPC', message: full.message });
});

test('a defect keeps its name and stack', () => {
  const defect = new TypeError('x is undefined');
  expect(received(defect)).toMatchObject({ name: 'TypeError', stack: defect.stack });
});
