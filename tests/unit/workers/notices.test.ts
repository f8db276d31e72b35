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
])('a notice %s of a run in place, on %s, is not printed', (message, taskQueue, more) => {
  expect(formatNotice(entry(message, { taskQueue, error: fatal, ...more }))).toBeNull();
});

test('a retry of a step of a run in place is printed', () => {
  const meta = { taskQueue: stepsQueue(ownPool('mine')), activityType: 'consolidate', error: passing };
  expect(formatNotice(entry('Activity failed', meta))).toBe('temporal WARN: Activity failed: disk full');
});

test('every notice of a worker that serves submitted runs is printed', () => {
  const meta = { taskQueue: defaultTaskQueue, error: fatal };
  expect(formatNotice(entry('Workflow failed', meta))).toBe('temporal WARN: Workflow failed: no such folder');
});
