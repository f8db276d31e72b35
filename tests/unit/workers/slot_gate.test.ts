import { setTimeout as pause } from 'node:timers/promises';
import { SlotGate } from '../../../workers/host/slot_gate.js';

/** Returns whether a promise has settled by now. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => true), pause(5, false)]);
}

const never = new AbortController().signal;

test('a gate gives no more permits than slots are free', async () => {
  const gate = new SlotGate(() => 2);
  await gate.reserveSlot(null, never);
  await gate.reserveSlot(null, never);
  expect(await isSettled(gate.reserveSlot(null, never))).toBe(false);
});

test('a waiting request gets its permit when a slot is freed', async () => {
  let free = 0;
  const gate = new SlotGate(() => free);
  const permit = gate.reserveSlot(null, never);
  expect(await isSettled(permit)).toBe(false);
  free = 1;
  gate.changed();
  expect(await isSettled(permit)).toBe(true);
});

test('a permit that is released can be given again', async () => {
  const gate = new SlotGate(() => 1);
  await gate.reserveSlot(null, never);
  gate.releaseSlot();
  expect(await isSettled(gate.reserveSlot(null, never))).toBe(true);
});

test('a closed gate gives no permit', async () => {
  const gate = new SlotGate(() => 1);
  gate.close();
  expect(await isSettled(gate.reserveSlot(null, never))).toBe(false);
});

test('waiting for a permit ends when the worker shuts down', async () => {
  const gate = new SlotGate(() => 0);
  const shutdown = new AbortController();
  const permit = gate.reserveSlot(null, shutdown.signal);
  shutdown.abort();
  await expect(permit).rejects.toMatchObject({ name: 'AbortError' });
});
