import { ApplicationFailure } from '@temporalio/common';
import { toActivityFailure, toTrainingFailure } from '../../../activities/failure.js';
import { DataError, EngineError, ServiceUnavailable, StorageError } from '../../../shared/errors.js';

const failure = (error: unknown, attempt = 1) => toActivityFailure(error, attempt) as ApplicationFailure;

test("an error of the user's making keeps its code and message, and is not retried", () => {
  expect(failure(new DataError('row 3 has no column text'))).toMatchObject({
    type: 'DataError',
    message: 'row 3 has no column text',
    nonRetryable: true,
  });
});

test('a service that is away is tried again; storage only a few times', () => {
  expect(failure(new ServiceUnavailable('hub'), 7).nonRetryable).toBe(false);
  expect(failure(new StorageError('disk full'), 1).nonRetryable).toBe(false);
  expect(failure(new StorageError('disk full'), 3).nonRetryable).toBe(true);
});

test("the system's own errors are tried again, defects are not", () => {
  const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
  expect(failure(reset).nonRetryable).toBe(false);
  expect(failure(new TypeError('x is undefined')).nonRetryable).toBe(true);
});

test('in training the engine gets another gang, and bad data does not', () => {
  expect(toTrainingFailure(new EngineError('illegal instruction'))).toMatchObject({ nonRetryable: false });
  expect(toTrainingFailure(new DataError('no packs'))).toMatchObject({
    nonRetryable: true,
    type: 'DataError',
  });
});

test('a failure that is typed already passes unchanged', () => {
  const lost = ApplicationFailure.create({ type: 'RankLost', message: 'killed' });
  expect(toTrainingFailure(lost)).toBe(lost);
});
