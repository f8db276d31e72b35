import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, uptime } from 'node:os';
import path from 'node:path';
import { ownIdentity, ownProcessTag, type ProcessIdentity } from '../../../shared/process_identity.js';
import {
  type HostRecord,
  HostRecordWriter,
  reapRecords,
  secondsSilent,
} from '../../../workers/host/host_record.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'temper-records-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const ownProcess = ownIdentity();

/** Returns the identity of a process that has ended. */
function endedProcess(): ProcessIdentity {
  return { ...ownProcess, pid: spawnSync('true').pid };
}

function writeRecord(name: string, change: Partial<HostRecord>): void {
  const record: HostRecord = {
    version: 1,
    queue: name,
    namespaceId: 'n',
    process: ownProcess,
    aliveAt: uptime(),
    leases: [],
    activities: [],
    ...change,
  };
  writeFileSync(path.join(folder, `${name}.json`), JSON.stringify(record));
}

async function reap(): Promise<string[]> {
  const queues: string[] = [];
  await reapRecords(folder, 'n', async ({ queue }) => {
    queues.push(queue);
  });
  return queues;
}

test('only records of killed host workers of this namespace are reported', async () => {
  writeRecord('running', {});
  writeRecord('ended', { process: endedProcess() });
  writeRecord('container', { process: { ...endedProcess(), pidNamespace: 'pid:[1]' } });
  writeRecord('foreign', { process: endedProcess(), namespaceId: 'another' });
  expect(await reap()).toEqual(['ended']);
});

test('a record is reported once, however many reapers read it at a time', async () => {
  writeRecord('ended', { process: endedProcess() });
  expect((await Promise.all(Array.from({ length: 8 }, reap))).flat()).toEqual(['ended']);
  expect(readdirSync(folder)).toEqual([]);
});

test('a record that could not be reported stays for the next try', async () => {
  writeRecord('ended', { process: endedProcess() });
  const attempt = reapRecords(folder, 'n', async () => {
    throw new Error('no server');
  });
  await expect(attempt).rejects.toThrow('no server');
  expect(await reap()).toEqual(['ended']);
});

test('a record whose reaper was killed is reported by the next one', async () => {
  writeRecord('ended', { process: endedProcess() });
  const [scope] = ownProcessTag().split('-');
  const lock = path.join(folder, 'ended.json.lock');
  mkdirSync(lock);
  writeFileSync(path.join(lock, `${scope}-${endedProcess().pid}-1.${randomUUID()}.here`), '');
  expect(await reap()).toEqual(['ended']);
  expect(readdirSync(folder)).toEqual([]);
});

test('a host worker records what it works on, and removes its record at the end', async () => {
  const lease = { workflowId: 'w', generation: 2, step: 7 };
  const record = new HostRecordWriter(folder, { queue: 'q', namespaceId: 'n' }, () => [lease]);
  await record.open();
  const activity = { workflowId: 'w', runId: 'r', activityId: '3' };
  record.addActivity(activity);
  await record.update();
  const storedRecord = JSON.parse(readFileSync(path.join(folder, 'q.json'), 'utf8'));
  expect(storedRecord).toMatchObject({ leases: [lease], activities: [activity], process: ownProcess });
  await record.close();
  expect(readdirSync(folder)).toEqual([]);
});

test('a clock that was set by two hours does not change for how long a killed host worker was silent', async () => {
  const record = new HostRecordWriter(folder, { queue: 'q', namespaceId: 'n' }, () => []);
  await record.open();
  const file = path.join(folder, 'q.json');
  const left = readFileSync(file, 'utf8');
  await record.close();
  writeFileSync(file, JSON.stringify({ ...JSON.parse(left), process: endedProcess() }));
  const silences: number[] = [];
  const { now } = Date;
  Date.now = () => now() + 7_200_000;
  try {
    await reapRecords(folder, 'n', async (killed) => void silences.push(secondsSilent(killed)));
  } finally {
    Date.now = now;
  }
  expect(silences).toHaveLength(1);
  expect(silences[0]).toBeLessThan(60);
});

test('a record of a namespace that nobody here serves is removed after a week', async () => {
  const week = 7 * 24 * 3600;
  writeRecord('recent', { process: endedProcess(), namespaceId: 'another', aliveAt: uptime() - week + 60 });
  writeRecord('old', { process: endedProcess(), namespaceId: 'another', aliveAt: uptime() - week - 60 });
  expect(await reap()).toEqual([]);
  expect(readdirSync(folder)).toEqual(['recent.json']);
});
