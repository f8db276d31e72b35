import { spawnSync } from 'node:child_process';
import { workerIdentity, workerState } from '../../../workers/temporal/worker_identity.js';

test('the identity of a worker begins as the SDK’s does, and gives the state of its process', () => {
  expect(workerIdentity()).toMatch(new RegExp(`^${process.pid}@\\S+ `));
  expect(workerState(workerIdentity())).toBe('alive');
  const endedPid = String(spawnSync('true').pid);
  expect(workerState(workerIdentity().replaceAll(String(process.pid), endedPid))).toBe('gone');
});

test('the state of a worker whose identity is only process id and host is unknown', () => {
  expect(workerState(workerIdentity().split(' ')[0]!)).toBe('unknown');
});
