import { ApplicationFailure } from '@temporalio/common';
import type { LogEntry } from '@temporalio/worker';
import { defaultTaskQueue, ownPool, ownQueue, stepsQueue } from '../../../contracts/index.js';
import { formatNotice } from '../../../workers/temporal/notices.js';

const entry = (message: string, meta: Record<string, unknown>): LogEntry => ({
  level: 'WARN',
  message,
  timestampNanos: 0n,
  meta: { workflowId: 'mine', ...meta },
});
const fatal = ApplicationFailure.create({ message: 'no such folder', nonRetryable: true });
const passing = ApplicationFailure.create({ message: 'disk full', nonRetryable: false });

test.each([
  ['Workflow failed', ownQueue('mine'), {}],
  ['Activity failed', stepsQueue(ownPool('mine')), {}],
  ['Activity failed', `${ownPool('mine')}.vm.1`, { activityType: 'trainEpoch', error: passing }],
])('%s in place, on %s, is left to who follows the run', (message, taskQueue, more) => {
  expect(formatNotice(entry(message, { taskQueue, error: fatal, ...more }))).toBeNull();
});

test('a step of an in-place worker that is tried again is reported', () => {
  const meta = { taskQueue: stepsQueue(ownPool('mine')), activityType: 'consolidate', error: passing };
  expect(formatNotice(entry('Activity failed', meta))).toBe('temporal WARN: Activity failed: disk full');
});

test('a worker that others started runs on says everything', () => {
  const meta = { taskQueue: defaultTaskQueue, error: fatal };
  expect(formatNotice(entry('Workflow failed', meta))).toBe('temporal WARN: Workflow failed: no such folder');
});
