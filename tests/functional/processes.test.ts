/** The shell of child processes, with real ones: how each way to end reaches the parent, and what they are given. */
import { readFileSync } from 'node:fs';
import { childEnvironment } from '../../shared/processes/child_environment.js';
import { Conversation } from '../../shared/processes/forked_process.js';
import type { HostileCommand } from './support/hostile_child.js';

const program = new URL('./support/hostile_child.js', import.meta.url);

class Ended extends Error {}

interface Answer {
  environment: Record<string, string>;
}

const start = () =>
  new Conversation<HostileCommand, Answer>(
    program,
    (message) => message as Answer,
    (how) => new Ended(how),
  );

/** Has a new process do something, within bounds. */
async function does(what: HostileCommand['does'], bounds = { memory: 2 ** 29, seconds: 2 }): Promise<void> {
  const child = start();
  const lift = child.process.bound(bounds);
  try {
    await child.request({ does: what }, () => true);
  } finally {
    lift();
    await child.kill();
  }
}

test('a loop without end is ended by the clock, while the parent continues', async () => {
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 50);
  await expect(does('loop')).rejects.toThrow(new Ended('computed for more than 2 s without a pause'));
  clearInterval(timer);
  expect(turns).toBeGreaterThan(10);
}, 60_000);

test('memory beyond the bound ends the process, and the bound is named', async () => {
  await expect(does('allocate')).rejects.toThrow(new Ended('used more than 0.5 GB of memory'));
}, 60_000);

test('memory of its children counts', async () => {
  await expect(does('allocateInChild')).rejects.toThrow(new Ended('used more than 0.5 GB of memory'));
}, 60_000);

test('an abort of native code is an end by its signal', async () => {
  await expect(does('abort')).rejects.toThrow(/^killed by SIGABRT/);
}, 60_000);

test("a thrown error arrives with the operating system's code", async () => {
  await expect(does('throw')).rejects.toMatchObject({ code: 'ENOSPC', message: /no space left/ });
}, 60_000);

test('a rejection that nobody handles fails the request under way', async () => {
  await expect(does('reject')).rejects.toMatchObject({
    name: 'RangeError',
    message: 'nobody waits for this',
  });
}, 60_000);

describe('secrets of the parent', () => {
  const secrets = {
    HF_TOKEN: 'SENTINEL_hub',
    AWS_SECRET_ACCESS_KEY: 'SENTINEL_aws',
    MY_SECRET: 'SENTINEL_my',
  };

  test('are in no child that was not given them', async () => {
    const saved = { ...process.env };
    Object.assign(process.env, secrets);
    const child = start();
    try {
      let received: Record<string, string> = {};
      const ask = () =>
        child.request({ does: 'environment' }, ({ environment }) => {
          received = environment;
          return true;
        });
      await ask();
      expect(readFileSync(`/proc/${child.process.pid}/environ`, 'utf8')).not.toContain('SENTINEL');
      expect(JSON.stringify(received)).not.toContain('SENTINEL');
      expect(received).toMatchObject(childEnvironment());

      child.process.grant({ HF_TOKEN: secrets.HF_TOKEN });
      await ask();
      expect(received.HF_TOKEN).toBe('SENTINEL_hub');
      // What the next step is given replaces what this one had.
      child.process.grant({});
      await ask();
      expect(received.HF_TOKEN).toBeUndefined();
    } finally {
      process.env = saved;
      await child.kill();
    }
  }, 60_000);
});
