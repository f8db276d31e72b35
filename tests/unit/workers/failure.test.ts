import { ApplicationFailure } from '@temporalio/common';
import { toActivityFailure, toTrainingFailure } from '../../../activities/failure.js';
import {
  DataError,
  EngineError,
  ServiceUnavailable,
  StorageError,
  TemperError,
} from '../../../shared/errors.js';

const failure = (error: unknown) => toActivityFailure(error) as ApplicationFailure;
const retry = (error: unknown) => failure(error).details;

test("an error of the user's making keeps its code and message, and is not retried", () => {
  expect(failure(new DataError('row 3 has no column text'))).toMatchObject({
    type: 'DataError',
    message: 'row 3 has no column text',
    nonRetryable: true,
    details: [{ version: 1, retry: 'never' }],
  });
});

test('a failure says what a retry needs: the service, storage or a new process', () => {
  expect(retry(new ServiceUnavailable('hub'))).toEqual([{ version: 1, retry: 'service' }]);
  expect(retry(new StorageError('disk full'))).toEqual([{ version: 1, retry: 'storage' }]);
  expect(retry(new EngineError('illegal instruction'))).toEqual([{ version: 1, retry: 'process' }]);
});

test('an error that crossed a process is recognized by its code', () => {
  expect(retry(new TemperError('StorageError', 'disk full'))).toEqual([{ version: 1, retry: 'storage' }]);
  expect(failure(new TemperError('DataError', 'no rows')).nonRetryable).toBe(true);
});

test('system errors count as storage errors, and defects are not retried', () => {
  const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
  expect(retry(reset)).toEqual([{ version: 1, retry: 'storage' }]);
  expect(failure(new TypeError('x is undefined')).nonRetryable).toBe(true);
});

test('in training a defect gets another gang, and bad data does not', () => {
  expect(toTrainingFailure(new TemperError('TypeError', 'x is undefined'))).toMatchObject({
    nonRetryable: false,
  });
  expect(toTrainingFailure(new DataError('no packs'))).toMatchObject({
    nonRetryable: true,
    type: 'DataError',
  });
});

test('an ApplicationFailure passes unchanged', () => {
  const rankLost = ApplicationFailure.create({ type: 'RankLost', message: 'killed' });
  expect(toTrainingFailure(rankLost)).toBe(rankLost);
});
