import { spawnSync } from 'node:child_process';
import { workerIdentity, workerState } from '../../../workers/temporal/worker_identity.js';

test('a worker is judged by its identity, which begins as the one of the SDK does', () => {
  expect(workerIdentity()).toMatch(new RegExp(`^${process.pid}@\\S+ `));
  expect(workerState(workerIdentity())).toBe('alive');
  const ended = String(spawnSync('true').pid);
  expect(workerState(workerIdentity().replaceAll(String(process.pid), ended))).toBe('gone');
});

test('of a worker that says no more than number and host nothing is known', () => {
  expect(workerState(workerIdentity().split(' ')[0]!)).toBe('unknown');
});
