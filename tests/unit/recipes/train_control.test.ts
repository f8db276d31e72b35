import type { RunRequests } from '../../../contracts/index.js';
import { Control } from '../../../recipes/llm/train/control.js';

const requests = (number: number, more: Partial<RunRequests> = {}): RunRequests => ({
  number,
  paused: false,
  stopping: false,
  checkpoint: 0,
  ...more,
});

test('the request with the highest number applies, whatever the order', () => {
  const control = new Control();
  control.apply(requests(0));
  control.apply(requests(2));
  control.apply(requests(1, { paused: true }));
  expect(control.paused).toBe(false);
});

test('a checkpoint is saved once each time its count grows, and not for requests from before the rank started', () => {
  const control = new Control();
  control.apply(requests(4, { checkpoint: 3 }));
  expect(control.saveRequested).toBe(false);
  control.apply(requests(5, { checkpoint: 4 }));
  expect(control.saveRequested).toBe(true);
  control.saveRequested = false;
  control.apply(requests(6, { checkpoint: 4, paused: true }));
  expect(control.saveRequested).toBe(false);
});

test('a stop takes precedence over a preemption that comes first', () => {
  const control = new Control();
  control.apply(requests(0));
  control.preempt();
  expect(control.ending).toBe('preempted');
  control.apply(requests(1, { stopping: true }));
  expect(control.ending).toBe('stopped');
});

test('a paused rank continues when it is resumed, and when it is preempted', async () => {
  for (const wake of [
    (control: Control) => control.apply(requests(2)),
    (control: Control) => control.preempt(),
  ]) {
    const control = new Control();
    control.apply(requests(1, { paused: true }));
    const pause = control.whilePaused();
    wake(control);
    await pause;
    expect(control.paused).toBe(false);
  }
});
