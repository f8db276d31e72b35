/** The slots of a host, with real rank processes and a run's folder on disk. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { jest } from '@jest/globals';
import { noRequests, type RunReference, type TrainRequest } from '../../contracts/index.js';
import { ForkedProcess } from '../../shared/processes/forked_process.js';
import { Slots, type SlotsOptions } from '../../workers/host/slots.js';
import { until } from '../support/until.js';

let folder: string;
const openSlots: Slots[] = [];

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temper-slots-'));
});
afterEach(async () => {
  for (const slots of openSlots.splice(0)) await slots.drain();
  await rm(folder, { recursive: true, force: true });
});

const identity = { host: 'h', incarnation: '1', queue: 'pool.h.1' };

function open(options: Partial<SlotsOptions> = {}) {
  const notices: string[] = [];
  const slots = new Slots({
    identity,
    devices: ['cpu:0'],
    onChange: async () => undefined,
    othersOffer: async () => false,
    log: (text) => notices.push(text),
    ...options,
  });
  openSlots.push(slots);
  return { slots, notices };
}

const run = (): RunReference => ({ version: 1, id: 'r', outputDir: folder, recipeDigest: 'a'.repeat(64) });
const request = (avoid: string[] = []) => ({ version: 1, run: run(), avoid }) as const;

test('a host whose own disk fails withdraws its slots until it can write again', async () => {
  let isDiskFull = true;
  const onChange = async () => {
    if (isDiskFull)
      throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  };
  const { slots, notices } = open({ onChange });
  await expect(slots.reserve(request())).rejects.toMatchObject({ type: 'NoFreeSlot' });
  expect(slots.free).toBe(0);
  expect(notices).toEqual(['the host has withdrawn its slots: ENOSPC: no space left on device, write']);
  isDiskFull = false;
  await until('a free slot', () => slots.free === 1);
  await expect(slots.reserve(request())).resolves.toMatchObject({ generation: 1 });
});

test('a host that a run avoids refuses it only while another host offers slots', async () => {
  let othersOffer = true;
  const { slots } = open({ othersOffer: async () => othersOffer });
  await expect(slots.reserve(request([identity.queue]))).rejects.toMatchObject({ type: 'HostAvoided' });
  othersOffer = false;
  await expect(slots.reserve(request([identity.queue]))).resolves.toMatchObject({ generation: 1 });
});

/** Returns the process ids of this process's ranks. */
function listRanks(): number[] {
  const processList = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(process.pid)], {
    encoding: 'utf8',
  });
  const lines = processList.split('\n').filter((line) => line.includes('rank.js'));
  return lines.map((line) => Number.parseInt(line, 10));
}

/** Begins to train on a rank that SIGKILL does not end, until `end` is called. */
async function trainUnkillable(slots: Slots) {
  const grant = await slots.reserve(request());
  const train: TrainRequest = {
    version: 1,
    run: run(),
    grant,
    model: { folder: '/nonexistent' } as TrainRequest['model'],
    data: { train: '/nonexistent', validation: {}, report: {} },
    epoch: 0,
    requests: noRequests,
    claim: 'claim',
  };
  const [rank] = listRanks();
  // In place of a process that waits in the kernel, which this test has no means to make.
  process.kill(rank!, 'SIGSTOP');
  const kill = jest.spyOn(ForkedProcess.prototype, 'kill').mockImplementation(() => undefined);
  const end = () => {
    kill.mockRestore();
    process.kill(rank!, 'SIGKILL');
  };
  return { grant, trained: slots.train(train, () => undefined), end };
}

test('a slot whose rank SIGKILL does not end is quarantined until the process is gone', async () => {
  const { slots, notices } = open();
  const { grant, trained, end } = await trainUnkillable(slots);
  const loss = expect(trained).rejects.toMatchObject({ type: 'RankLost' });
  await expect(slots.release(grant)).resolves.toBe(false);
  await loss;
  expect(slots.free).toBe(0);
  expect(notices).toEqual(["slot cpu:0 is quarantined: the rank of run 'r' is still running after SIGKILL"]);
  end();
  await until('a free slot', () => slots.free === 1);
});

test('a host that drains does not wait for a rank that SIGKILL does not end', async () => {
  const { slots, notices } = open();
  const { trained, end } = await trainUnkillable(slots);
  const lost = expect(trained).rejects.toMatchObject({ type: 'LeaseLost' });
  await slots.drain();
  await lost;
  expect(notices).toEqual(["slot cpu:0 is quarantined: the rank of run 'r' is still running after SIGKILL"]);
  end();
});
