import { setTimeout as pause } from 'node:timers/promises';
import { SlotGate } from '../../../workers/host/slot_gate.js';

/** Returns whether a promise has settled by now. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => true), pause(5, false)]);
}

const never = new AbortController().signal;

test('no more permits are out than slots are free', async () => {
  const gate = new SlotGate(() => 2);
  await gate.reserveSlot(null, never);
  await gate.reserveSlot(null, never);
  expect(await settled(gate.reserveSlot(null, never))).toBe(false);
});

test('a permit that waits is given when a slot is freed', async () => {
  let free = 0;
  const gate = new SlotGate(() => free);
  const permit = gate.reserveSlot(null, never);
  expect(await settled(permit)).toBe(false);
  free = 1;
  gate.changed();
  expect(await settled(permit)).toBe(true);
});

test('a permit given back can be given again', async () => {
  const gate = new SlotGate(() => 1);
  await gate.reserveSlot(null, never);
  gate.releaseSlot();
  expect(await settled(gate.reserveSlot(null, never))).toBe(true);
});

test('a closed gate gives none', async () => {
  const gate = new SlotGate(() => 1);
  gate.close();
  expect(await settled(gate.reserveSlot(null, never))).toBe(false);
});

test('waiting ends when the worker shuts down', async () => {
  const gate = new SlotGate(() => 0);
  const shutdown = new AbortController();
  const permit = gate.reserveSlot(null, shutdown.signal);
  shutdown.abort();
  await expect(permit).rejects.toMatchObject({ name: 'AbortError' });
});
