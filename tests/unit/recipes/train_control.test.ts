import type { RunRequests } from '../../../contracts/index.js';
import { Control } from '../../../recipes/llm/train/control.js';

const requests = (number: number, more: Partial<RunRequests> = {}): RunRequests => ({
  number,
  paused: false,
  stopping: false,
  checkpoint: 0,
  ...more,
});

test('of requests in any order the one with the highest number holds', () => {
  const control = new Control();
  control.apply(requests(0));
  control.apply(requests(2));
  control.apply(requests(1, { paused: true }));
  expect(control.paused).toBe(false);
});

test('a checkpoint is saved once for each growth of the count, and not for what was asked before the rank started', () => {
  const control = new Control();
  control.apply(requests(4, { checkpoint: 3 }));
  expect(control.saveRequested).toBe(false);
  control.apply(requests(5, { checkpoint: 4 }));
  expect(control.saveRequested).toBe(true);
  control.saveRequested = false;
  control.apply(requests(6, { checkpoint: 4, paused: true }));
  expect(control.saveRequested).toBe(false);
});

test('a stop wins over a preemption, whichever comes first', () => {
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
    const waiting = control.whilePaused();
    wake(control);
    await waiting;
    expect(control.paused).toBe(false);
  }
});
