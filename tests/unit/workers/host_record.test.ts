import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { identifyProcess, isProvenDead, type ProcessIdentity } from '../../../shared/process_identity.js';
import { type HostRecord, OwnRecord, takeDeadRecords } from '../../../workers/host_record.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'temper-records-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const mine = { namespaceId: 'n' };
const alive = identifyProcess()!;

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

async function taken(): Promise<string[]> {
  const queues: string[] = [];
  await takeDeadRecords(folder, mine, async ({ queue }) => {
    queues.push(queue);
  });
  return queues;
}

test('a process is itself, and one that took its number later is not', () => {
  expect(isProvenDead(alive)).toBe(false);
  expect(isProvenDead({ ...alive, started: '1' })).toBe(true);
  expect(isProvenDead({ ...alive, boot: 'an earlier one' })).toBe(true);
  expect(isProvenDead(dead())).toBe(true);
});

test('nothing is proven about a process of another host', () => {
  expect(isProvenDead({ ...dead(), host: 'elsewhere' })).toBe(false);
});

test('only records of dead host workers of this namespace are taken', async () => {
  leave('living', {});
  leave('dead', { process: dead() });
  leave('foreign', { process: dead(), namespaceId: 'another' });
  expect(await taken()).toEqual(['dead']);
});

test('a record is taken once, however many look at the same time', async () => {
  leave('dead', { process: dead() });
  expect((await Promise.all(Array.from({ length: 8 }, taken))).flat()).toEqual(['dead']);
  expect(readdirSync(folder)).toEqual([]);
});

test('a record whose affairs could not be settled stays for the next try', async () => {
  leave('dead', { process: dead() });
  const away = takeDeadRecords(folder, mine, async () => {
    throw new Error('no server');
  });
  await expect(away).rejects.toThrow('no server');
  expect(await taken()).toEqual(['dead']);
});

test('a host worker notes what it works on, and leaves nothing after an orderly end', async () => {
  const lease = { workflowId: 'w', generation: 2, step: 7 };
  const record = new OwnRecord(folder, { queue: 'q', namespaceId: 'n' }, () => [lease]);
  await record.open();
  const activity = { workflowId: 'w', runId: 'r', activityId: '3' };
  record.began(activity);
  await record.update();
  const written = JSON.parse(readFileSync(path.join(folder, 'q.json'), 'utf8'));
  expect(written).toMatchObject({ leases: [lease], activities: [activity], process: alive });
  await record.close();
  expect(readdirSync(folder)).toEqual([]);
});
