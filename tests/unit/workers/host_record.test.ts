import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ownIdentity, ownProcessTag, type ProcessIdentity } from '../../../shared/process_identity.js';
import { type HostRecord, HostRecordWriter, reapRecords } from '../../../workers/host/host_record.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'temper-records-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const alive = ownIdentity();

/** The identity of a process that has ended. */
function dead(): ProcessIdentity {
  return { ...alive, pid: spawnSync('true').pid };
}

function leave(name: string, change: Partial<HostRecord>): void {
  const record: HostRecord = {
    version: 1,
    queue: name,
    namespaceId: 'n',
    process: alive,
    aliveAt: new Date().toISOString(),
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
  leave('living', {});
  leave('dead', { process: dead() });
  leave('container', { process: { ...dead(), pidNamespace: 'pid:[1]' } });
  leave('foreign', { process: dead(), namespaceId: 'another' });
  expect(await reap()).toEqual(['dead']);
});

test('a record is reported once, however many look at the same time', async () => {
  leave('dead', { process: dead() });
  expect((await Promise.all(Array.from({ length: 8 }, reap))).flat()).toEqual(['dead']);
  expect(readdirSync(folder)).toEqual([]);
});

test('a record that could not be reported stays for the next try', async () => {
  leave('dead', { process: dead() });
  const away = reapRecords(folder, 'n', async () => {
    throw new Error('no server');
  });
  await expect(away).rejects.toThrow('no server');
  expect(await reap()).toEqual(['dead']);
});

test('a record whose taker was killed in the middle is taken by the next one', async () => {
  leave('dead', { process: dead() });
  const [scope] = ownProcessTag().split('-');
  const lock = path.join(folder, 'dead.json.lock');
  mkdirSync(lock);
  writeFileSync(path.join(lock, `${scope}-${dead().pid}-1.${randomUUID()}.here`), '');
  expect(await reap()).toEqual(['dead']);
  expect(readdirSync(folder)).toEqual([]);
});

test('a host worker notes what it works on, and leaves nothing after an orderly end', async () => {
  const lease = { workflowId: 'w', generation: 2, step: 7 };
  const record = new HostRecordWriter(folder, { queue: 'q', namespaceId: 'n' }, () => [lease]);
  await record.open();
  const activity = { workflowId: 'w', runId: 'r', activityId: '3' };
  record.addActivity(activity);
  await record.update();
  const written = JSON.parse(readFileSync(path.join(folder, 'q.json'), 'utf8'));
  expect(written).toMatchObject({ leases: [lease], activities: [activity], process: alive });
  await record.close();
  expect(readdirSync(folder)).toEqual([]);
});
