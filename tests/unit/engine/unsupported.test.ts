import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { toTrainingFailure } from '../../../activities/failure.js';
import { TemperError } from '../../../shared/errors.js';

test('a record that the device has no kernel for is refused by plan, record and op', () => {
  // The fake device reads the variable of the process, which Jest gives its tests a copy of.
  const answer = execFileSync(process.execPath, [path.join(import.meta.dirname, 'load_unsupported.js')], {
    encoding: 'utf8',
    env: { ...process.env, TEMPER_FAKE_WITHOUT: 'fill' },
  });
  expect(JSON.parse(answer)).toEqual({
    code: 'UnsupportedError',
    message: expect.stringMatching(
      /^plan '.+' record 0 \(fill, .+\): the kernel set 'portable' has no kernel for it$/,
    ),
  });
});

test('no other gang is asked for, also where the error crossed a process', () => {
  expect(toTrainingFailure(new TemperError('UnsupportedError', 'record 0'))).toMatchObject({
    nonRetryable: true,
    details: [{ version: 1, retry: 'never' }],
  });
});
