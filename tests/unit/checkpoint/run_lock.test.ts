import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { acquireRunLock, judgeProcess, readRunLock } from '../../../components/checkpoint/index.js';
import { CheckpointError } from '../../../shared/errors.js';
import { temporaryFolder } from '../../support/temporary_folder.js';
import { newRun } from './fixture.js';

const root = temporaryFolder();

/** Number of a process that has ended. */
function deadPid(): number {
  return spawnSync('true').pid;
}

test('a lock held by a living process is refused and names the holder', async () => {
  const run = await newRun(root);
  const lock = await acquireRunLock(run, 'pool.host.1');
  await expect(acquireRunLock(run, 'pool.host.2')).rejects.toThrow(
    new RegExp(`trained by process ${process.pid} .*pool\\.host\\.1.*is running`),
  );
  await lock.release();
  await (await acquireRunLock(run, 'pool.host.2')).release();
  expect(existsSync(path.join(run.folder, 'lock'))).toBe(false);
});

test('a lock of a dead process is taken over at once, by one of those who try', async () => {
  const run = await newRun(root);
  const { record } = await acquireRunLock(run, 'pool.host.1');
  await run.write('lock', Buffer.from(JSON.stringify({ ...record, pid: deadPid() })));
  const tries = await Promise.allSettled(
    Array.from({ length: 6 }, (_, i) => acquireRunLock(run, `pool.host.${i + 2}`)),
  );
  const won = tries.filter((outcome) => outcome.status === 'fulfilled');
  expect(won).toHaveLength(1);
  expect((await readRunLock(run))?.id).toBe(won[0]?.value.record.id);
});

test('a number that a later process got again does not pass for the dead one', async () => {
  const { record } = await acquireRunLock(await newRun(root), 'pool.host.1');
  expect(await judgeProcess(record)).toBe('alive');
  expect(await judgeProcess({ ...record, startTime: '1' })).toBe('dead');
});

test('a restart of the machine proves death; another host or container proves nothing', async () => {
  const { record } = await acquireRunLock(await newRun(root), 'pool.host.1');
  expect(await judgeProcess({ ...record, bootId: 'another' })).toBe('dead');
  expect(await judgeProcess({ ...record, host: 'another' })).toBe('unknown');
  expect(await judgeProcess({ ...record, pidNamespace: 'pid:[1]' })).toBe('unknown');
});

test('a lock that was taken over is not removed by its former holder', async () => {
  const run = await newRun(root);
  const old = await acquireRunLock(run, 'pool.host.1');
  await run.write('lock', Buffer.from(JSON.stringify({ ...old.record, pid: deadPid() })));
  const next = await acquireRunLock(run, 'pool.host.2');
  await old.release();
  expect((await readRunLock(run))?.id).toBe(next.record.id);
});

test('a lock file that is no lock is named', async () => {
  const run = await newRun(root);
  await run.write('lock', Buffer.from('?'));
  await expect(acquireRunLock(run, 'pool.host.1')).rejects.toThrow(CheckpointError);
});
