/** The shell of child processes, with real ones: how each kind of exit reaches the parent, and which secrets they get. */
import { readFileSync } from 'node:fs';
import { childEnvironment } from '../../shared/processes/child_environment.js';
import { Conversation } from '../../shared/processes/forked_process.js';
import type { HostileCommand } from './support/hostile_child.js';

const program = new URL('./support/hostile_child.js', import.meta.url);

class ChildExited extends Error {}

interface Answer {
  environment: Record<string, string>;
}

const start = () =>
  new Conversation<HostileCommand, Answer>(
    program,
    (message) => message as Answer,
    (how) => new ChildExited(how),
  );

/** Makes a new process do something, within bounds. */
async function runChild(
  what: HostileCommand['does'],
  bounds = { memory: 2 ** 29, seconds: 2 },
): Promise<void> {
  const child = start();
  const lift = child.process.bound(bounds);
  try {
    await child.request({ does: what }, () => true);
  } finally {
    lift();
    await child.kill();
  }
}

test('a child in an endless loop is killed after its time, while the parent continues', async () => {
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  }, 50);
  await expect(runChild('loop')).rejects.toThrow(
    new ChildExited('computed for more than 2 s without a pause'),
  );
  clearInterval(timer);
  expect(turns).toBeGreaterThan(10);
}, 60_000);

test('a child that uses more memory than its bound is killed, and the error names the bound', async () => {
  await expect(runChild('allocate')).rejects.toThrow(new ChildExited('used more than 0.5 GB of memory'));
}, 60_000);

test('the memory of its own children counts toward the bound of a child', async () => {
  await expect(runChild('allocateInChild')).rejects.toThrow(
    new ChildExited('used more than 0.5 GB of memory'),
  );
}, 60_000);

test('a child that aborts in native code is reported by its signal', async () => {
  await expect(runChild('abort')).rejects.toThrow(/^killed by SIGABRT/);
}, 60_000);

test("an error thrown in a child arrives with the operating system's code", async () => {
  await expect(runChild('throw')).rejects.toMatchObject({ code: 'ENOSPC', message: /no space left/ });
}, 60_000);

test('an unhandled rejection in a child fails the request under way', async () => {
  await expect(runChild('reject')).rejects.toMatchObject({
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

  test('reach a child only when they are granted to it', async () => {
    const environmentBefore = { ...process.env };
    Object.assign(process.env, secrets);
    const child = start();
    try {
      let received: Record<string, string> = {};
      const readEnvironment = () =>
        child.request({ does: 'environment' }, ({ environment }) => {
          received = environment;
          return true;
        });
      await readEnvironment();
      expect(readFileSync(`/proc/${child.process.pid}/environ`, 'utf8')).not.toContain('SENTINEL');
      expect(JSON.stringify(received)).not.toContain('SENTINEL');
      expect(received).toMatchObject(childEnvironment());

      child.process.grant({ HF_TOKEN: secrets.HF_TOKEN });
      await readEnvironment();
      expect(received.HF_TOKEN).toBe('SENTINEL_hub');
      // A later grant replaces the one before.
      child.process.grant({});
      await readEnvironment();
      expect(received.HF_TOKEN).toBeUndefined();
    } finally {
      process.env = environmentBefore;
      await child.kill();
    }
  }, 60_000);
});
